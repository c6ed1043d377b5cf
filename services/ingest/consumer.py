"""The consumer: aiokafka's, with an ear for what it raises, and a word on whether it has a broker."""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError
from faststream import BaseMiddleware, ContextRepo

STOP_SECONDS: Final = 3


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Tells `on_fault` of whatever polling raises: a batch of records that can't be unpacked, a group that
    can't be joined.

    Records of other partitions may be lost with it, and FastStream would poll on, and pass over them at the
    next commit. What passes by itself (a broker that is away, a rebalance) aiokafka does not raise.
    """

    def __init__(
        self, on_fault: Callable[[Exception], None], on_poll: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._on_fault = on_fault
        self._on_poll = on_poll

    @property
    def lost_broker(self) -> bool:
        """Whether the broker that keeps the group can't be reached: each heartbeat tells. aiokafka waits for
        it without a word to its caller, and has no other place to ask."""
        return self._coordinator.coordinator_id is None

    async def start(self) -> None:
        """As aiokafka's; one that can't start (its group is not for this user) is closed."""
        try:
            await super().start()
        except Exception as fault:
            self._on_fault(fault)
            await self.stop()
            raise

    async def stop(self) -> None:
        """As aiokafka's, which leaves the group first and then closes its connections; but it would wait half
        a minute for a broker that does not answer the end of TLS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await super().stop()

    async def getmany(self, *partitions: Any, **options: Any) -> Any:
        """As aiokafka's."""
        self._on_poll()
        try:
            return await super().getmany(*partitions, **options)
        except ConsumerStoppedError:
            raise
        except Exception as fault:
            self._on_fault(fault)
            raise


class FaultListener(BaseMiddleware[Any, Any]):
    """Tells `on_fault` of whatever is raised between the poll and the handler's return, by another
    middleware or by the parser: FastStream is silent about it, and a later commit would pass over the batch.
    """

    def __init__(
        self, on_fault: Callable[[Exception], None], records: Any, /, *, context: ContextRepo
    ) -> None:
        super().__init__(records, context=context)
        self._on_fault = on_fault

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        """As FastStream's, which does no more than let the fault go on."""
        if isinstance(exc_val, Exception):
            self._on_fault(exc_val)
        return await super().after_processed(exc_type, exc_val, exc_tb)
