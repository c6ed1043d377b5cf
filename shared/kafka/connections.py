"""Connections that broke a moment ago.

When a broker resets a connection, uvloop closes the transport at once, and tells of it in a later turn of the
loop. What is sent in between is to it a RuntimeError, where asyncio says nothing. aiokafka does not expect
one: its heartbeat would end ingest, and its search for a broker would end without a word, for ever.
"""

from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError

from shared.upstream import expect_parts


def expect_closed_transports() -> None:
    """Makes this process's connections to Kafka break then, as others do; they are opened again. aiokafka has
    no place for it but its own. Raises UpstreamChanged."""
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
