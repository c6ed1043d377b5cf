"""Measures what traces add to the processor time of ingest per record and of the API per request.

.venv/bin/python -m benchmarks.traces [--rounds 20]

Batches of 10,000 records take the path of traces through ingest, without its other work: FastStream's
middleware, the selection of sampled records, their spans, the steps of the batch, and the export. The
collector is a separate process that discards all input. Requests pass the API's middleware to an application
that responds at once. The figures are medians of the processor time of this process with all its threads.
Each round measures each case once, in turn."""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from aiokafka import ConsumerRecord as Record
from aiokafka import TopicPartition
from faststream import BaseMiddleware, ContextRepo
from faststream.kafka import KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER

from benchmarks.workload import records
from services.api.metrics import route_of
from services.ingest.arrivals import Arrival
from services.ingest.batch_trace import BatchTrace, untraced
from services.ingest.traces import Traces
from shared.calls.event import read
from shared.http.traces import Message, Receive, Scope, Send, TracedApplication
from shared.monitoring.trace_export import tracer_provider
from shared.store.changes import Changes, KnownCall, TouchedCall, changes, group

BATCH_RECORDS: Final = 10_000
REQUESTS: Final = 500
REQUEST: Final = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "server": ("127.0.0.1", 8000),
    "path": "/calls",
    "query_string": b"status=completed",
    "headers": [(b"host", b"api"), (b"user-agent", b"benchmark"), (b"authorization", b"Bearer kros_live_x")],
}
PARTITION: Final = TopicPartition("call-events", 0)

COLLECTOR: Final = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def batch(sampled_every: int, *, headers: bool) -> list[Record[bytes, bytes]]:
    """A batch in which one of every N records is sampled, and no record if N is 0. The others have a header
    without the sampled flag, or no header."""
    made = []
    for n, (key, value) in enumerate(records(BATCH_RECORDS)[:BATCH_RECORDS]):
        sampled = bool(sampled_every) and n % sampled_every == 0
        header = f"00-{n + 1:032x}-{n + 1:016x}-{'01' if sampled else '00'}".encode()
        said = (("traceparent", header),) if headers or sampled else ()
        made.append(Record(*PARTITION, n, 0, 0, key, value, None, len(key), len(value), said))
    return made


def folded(arrivals: Sequence[Arrival]) -> Changes:
    """The changes of the batch in an empty database."""
    by_call = group(event for _, event in arrivals)
    return changes([TouchedCall(key, arrived, KnownCall()) for key, arrived in by_call.items()], {})


class Way:
    """Takes a batch through ingest, with or without traces."""

    def __init__(self, traces: Traces | None) -> None:
        self._middleware = traces.middleware if traces else BaseMiddleware[Any, Any]
        self._follow = traces.follow if traces else untraced

    async def go(self, taken: Sequence[Record], arrivals: Sequence[Arrival], made: Changes) -> None:
        """As in FastStream's subscriber and ingest's `_take` and `_finish`."""

        async def take(_: object) -> None:
            trace = self._follow(taken)
            for step in ("parse", "wait for the batch before"):
                with trace.step(step):
                    pass
            await asyncio.create_task(self._finish(trace, arrivals, made))

        message = KafkaMessage(body=b"", raw_message=tuple(taken), consumer=FAKE_CONSUMER)
        async with self._middleware(message.raw_message, context=ContextRepo()) as middleware:
            await middleware.consume_scope(take, message)

    async def _finish(self, trace: BatchTrace, arrivals: Sequence[Arrival], made: Changes) -> None:
        with trace.step("store"):
            with trace.step("try"):
                for step in ("read", "fold", "write"):
                    with trace.step(step):
                        pass
                trace.stored(arrivals, [], made)
            with trace.step("commit offsets"):
                trace.offsets_committed([PARTITION])
        trace.end()


async def measure(port: int, rounds: int) -> None:
    """Prints the median of each case."""
    provider = tracer_provider(f"http://127.0.0.1:{port}/v1/traces", "benchmark", 1)
    off, on = Way(None), Way(Traces(provider, "benchmark"))
    cases = {
        "off": (off, batch(0, headers=False)),
        "on, no record with the header": (on, batch(0, headers=False)),
        "on, every record with it, none sampled": (on, batch(0, headers=True)),
        "on, every record with it, 1% sampled": (on, batch(100, headers=True)),
        "on, every record with it, 10% sampled": (on, batch(10, headers=True)),
    }
    now = datetime.now(UTC)
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (way, taken) in cases.items():
            arrivals = [(record, read(record.value, now)) for record in taken]
            made = folded(arrivals)
            began = time.process_time()
            await way.go(taken, arrivals, made)
            provider.force_flush()
            spent[name].append((time.process_time() - began) / BATCH_RECORDS * 1e6)
    _tell(spent, "record")
    provider.shutdown()


async def measure_requests(port: int, rounds: int) -> None:
    """Prints the median of each case."""
    spent: dict[str, list[float]] = {}
    for share in (0, 1):
        provider = tracer_provider(f"http://127.0.0.1:{port}/v1/traces", "benchmark", share)
        each = spent[f"API, {'every' if share else 'no'} request traced"] = []
        application = TracedApplication(_answer, provider, route_of)
        for _ in range(rounds):
            began = time.process_time()
            for _ in range(REQUESTS):
                await application(dict(REQUEST), _receive, _send)
            provider.force_flush()
            each.append((time.process_time() - began) / REQUESTS * 1e6)
        provider.shutdown()
    _tell(spent, "request")


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _receive() -> Message:
    return {"type": "http.request"}


async def _send(message: Message) -> None:
    pass


def _tell(spent: dict[str, list[float]], unit: str) -> None:
    for name, each in spent.items():
        print(f"{name}: {median(each):.3f} µs a {unit} ({min(each):.3f} to {max(each):.3f})")


def main() -> None:
    """Parses the arguments and measures both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True) as collector:
        try:
            port = int(collector.stdout.readline()) if collector.stdout else 0
            asyncio.run(measure(port, rounds))
            asyncio.run(measure_requests(port, rounds))
        finally:
            collector.kill()


if __name__ == "__main__":
    main()
