"""A producer that sends a header name that is not UTF-8, as a C client can. It patches aiokafka's writer.

It publishes the values in one batch; the second and the fifth have the header. It needs its own process, with
AIOKAFKA_NO_EXTENSIONS=1: `python -m tests.support.produce_raw_header BOOTSTRAP TOPIC VALUE...`
"""

import asyncio
import sys

from aiokafka import AIOKafkaProducer


class RawName(str):
    """The name that is sent as b"\\xffname"."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xffname"


async def main(bootstrap: str, topic: str, *values: str) -> None:
    """Publishes the five values."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=200, compression_type="gzip")
    await producer.start()
    named = [(RawName("x"), b"said")]
    headers: list[list[tuple[str, bytes]]] = [[], [*named], [], [], [*named]]
    sent = [
        await producer.send(topic, value.encode(), b"key", headers=of_it)
        for value, of_it in zip(values, headers, strict=True)
    ]
    await asyncio.gather(*sent)
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
