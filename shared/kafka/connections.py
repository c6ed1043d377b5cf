"""Connections that have just broken.

When a broker resets a connection, uvloop closes the transport at once and reports it in a later iteration of
the loop. Sending in between raises a RuntimeError, where asyncio does nothing. aiokafka does not expect it:
its heartbeat would end ingest, and its search for a broker would stop silently.
"""

from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError

from shared.upstream import expect_parts


def expect_closed_transports() -> None:
    """Makes this process treat such a connection to Kafka as broken, so that it is reopened. aiokafka offers
    no hook for it. Raises UpstreamChanged."""
    expect_parts("aiokafka", conn, "AIOKafkaConnection", "CloseReason")
    expect_parts("aiokafka", conn.AIOKafkaConnection, "send", "close")
    expect_parts("aiokafka", conn.CloseReason, "CONNECTION_BROKEN")
    conn.AIOKafkaConnection = _Connection


class _Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    def send(self, request: Any, expect_response: bool = True) -> Any:
        """As aiokafka's."""
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error
