"""Measures the receiver, and the translation of deliveries.

    .venv/bin/python -m benchmarks.sources [--rate 500] [--seconds 20] [--only receiver|dialects]

One receiver process takes signed forms of Twilio, on the same cores as the broker and the load generator,
with durability on. A delivery counts when its answer has arrived, after the broker has stored it. Latencies
are measured at a fixed rate, from the moment that a request was due. The figures of dialects are the
processor time of one delivery through `translate`, `event_json` and the check of each event, by the samples
in tests/sources/samples."""

import argparse
import asyncio
import hmac
import json
import tempfile
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from hashlib import sha1
from itertools import cycle
from pathlib import Path
from statistics import mean, median
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from uuid import UUID, uuid4

import asyncpg
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.api import peak_memory_mb, process, tell, wait_until_answers
from benchmarks.load import Asked, Load, at_rate, full_load
from services.ops.embedded.servers import Servers, servers
from services.ops.embedded.state import free_ports
from services.ops.sources.sample import Sample, SampleError, sample_of
from shared.calls.event import InvalidEvent, read
from shared.dialects.registry import DIALECTS
from shared.kafka.topic import DELIVERY_BYTES_MAX, ensure_topic
from shared.migrations.upgrade import upgrade
from shared.secret_box import SecretBox, new_key
from shared.sources.translate import event_json, translate

SAMPLES: Final = Path(__file__).parent.parent / "tests" / "sources" / "samples"
TOPIC: Final = "call-deliveries"
PARTITIONS: Final = 8
CONNECTIONS: Final = (1, 8, 32)
CALLS: Final = 2_000
URL: Final = "https://hooks.example.test/twilio"
TOKEN: Final = "6bee7999aaa72cccfc6bad87e1115625"  # noqa: S105 (of these requests alone)


def forms() -> list[dict[str, str]]:
    """The status callbacks among Twilio's samples, as forms."""
    found = []
    for file in sorted((SAMPLES / "twilio").glob("outbound_*.json")):
        request = json.loads(file.read_text())["request"]
        found.append(dict(parse_qsl(request["body"], keep_blank_values=True)))
    return found


def requests(source_id: UUID) -> list[bytes]:
    """Signed requests of many calls, as bytes."""
    given, made = forms(), []
    for _ in range(CALLS):
        call_id = f"CA{uuid4().hex}"
        for form in given:
            fields = {**form, "CallSid": call_id}
            signed = URL + "".join(name + value for name, value in sorted(fields.items()))
            signature = b64encode(hmac.digest(TOKEN.encode(), signed.encode(), sha1)).decode()
            body = urlencode(fields)
            head = (
                f"POST /hooks/{source_id} HTTP/1.1",
                "Host: hooks.example.test",
                "Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
                "User-Agent: TwilioProxy/1.1",
                f"X-Twilio-Signature: {signature}",
                f"Content-Length: {len(body)}",
            )
            made.append("\r\n".join((*head, "", body)).encode())
    return made


async def measure_receiver(running: Servers, directory: Path, rate: float, seconds: float) -> None:
    """Starts the receiver, sends requests, and prints the figures."""
    await ensure_topic(running.bootstrap, TOPIC, PARTITIONS, record_bytes_max=DELIVERY_BYTES_MAX)
    server = await asyncpg.connect(running.database_url("postgres"))
    await server.execute("CREATE DATABASE sources")
    await server.close()
    url, key, source_id = running.database_url("sources"), new_key(), uuid4()
    await asyncio.to_thread(upgrade, url)
    database = await asyncpg.connect(url)
    await database.execute(
        "INSERT INTO sources (id, name, dialect, secrets, url) VALUES ($1, 'Acme', 'twilio', $2, $3)",
        source_id,
        SecretBox([key]).encrypted({"auth_token": TOKEN}),
        URL,
    )
    await database.close()
    (port,) = free_ports(1)
    settings = {
        "CALLFOLD_DATABASE_URL": url,
        "CALLFOLD_KAFKA_BOOTSTRAP": running.bootstrap,
        "CALLFOLD_SECRETS_KEY": key,
        "CALLFOLD_RECEIVER_PORT": str(port),
    }
    asked = Asked(cycle(requests(source_id)), bytes_min=0)
    table = Table("how", "deliveries/s", "p50 ms", "p99 ms", "longest", "receiver µs", "wrong")
    with process(directory / "receiver.log", "services.receiver", **settings) as receiver:
        await wait_until_answers(port, "/health/ready")
        await at_rate(port, asked, per_second=rate, seconds=3)
        load = at_rate(port, asked, per_second=rate, seconds=seconds)
        await _row(table, f"{rate:g}/s", receiver.pid, load)
        for connections in CONNECTIONS:
            await _row(
                table,
                f"{connections} connections",
                receiver.pid,
                full_load(port, asked, connections=connections, seconds=seconds),
            )
        memory = peak_memory_mb(receiver.pid)
    to = Console(width=110)
    to.print(table)
    to.print(f"peak memory: {memory:.0f} MB; records on the topic: {await _records(running.bootstrap):,}")


async def _row(table: Table, how: str, pid: int, load: Awaitable[Load]) -> None:
    """Runs a load and adds its figures."""
    tell(how)
    before = _cpu_seconds(pid)
    began = time.perf_counter()
    done = await load
    share = done.seconds / (time.perf_counter() - began)  # a closed loop does not count its first answers
    answers = len(done.latencies_seconds)
    table.add_row(
        how,
        f"{done.per_second:,.0f}",
        f"{done.percentile_ms(50):.1f}",
        f"{done.percentile_ms(99):.1f}",
        f"{done.latencies_seconds[-1] * 1000:.0f}",
        f"{(_cpu_seconds(pid) - before) * min(share, 1) / answers * 1e6:,.0f}",
        f"{done.wrong} {done.first_wrong}" if done.wrong else "0",
    )


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _records(bootstrap: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        return sum(
            (await consumer.end_offsets([TopicPartition(TOPIC, n) for n in range(PARTITIONS)])).values()
        )
    finally:
        await consumer.stop()


def samples() -> Iterator[tuple[str, Sample]]:
    """The samples whose dialect is registered, each with the dialect's name."""
    for file in sorted(SAMPLES.glob("*/*.json")):
        content: dict[str, Any] = json.loads(file.read_text(), parse_float=str)
        if content["dialect"] in DIALECTS:
            try:
                yield content["dialect"], sample_of(content)
            except SampleError:
                continue


def measure_dialects(rounds: int) -> None:
    """Prints the processor time of one delivery, for each dialect: the median of nine runs."""
    by_dialect: defaultdict[str, list[Sample]] = defaultdict(list)
    for name, sample in samples():
        by_dialect[name].append(sample)
    table = Table("dialect", "samples", "events each", "bytes each", "µs each")
    for name, given in sorted(by_dialect.items()):
        times = []
        for _ in range(9):
            turns = max(1, rounds // len(given) // 9)
            began = time.process_time()
            for _ in range(turns):
                for sample in given:
                    _events(sample)
            times.append((time.process_time() - began) / turns / len(given) * 1e6)
        events = mean(_events(sample) for sample in given)
        size = mean(len(sample.delivery.body or b"") for sample in given)
        table.add_row(name, str(len(given)), f"{events:.1f}", f"{size:,.0f}", f"{median(times):.0f}")
    Console(width=110).print(table)


def _events(sample: Sample) -> int:
    """Translates a delivery and reads its events. Returns their number."""
    source, delivery = sample
    events = 0
    for placed in translate(delivery, source, DIALECTS[source.dialect]).facts:
        try:
            read(event_json(placed.fact, placed.organization or source.id), delivery.received_at)
            events += 1
        except InvalidEvent:
            continue
    return events


def main() -> None:
    """Parses the arguments and measures on separate servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=500, help="deliveries per second for latencies")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--rounds", type=int, default=20_000, help="deliveries to translate per dialect")
    parser.add_argument("--only", choices=("receiver", "dialects"))
    options = parser.parse_args()
    if options.only != "dialects":
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            directory.chmod(0o755)
            with servers(directory, durable=True) as running:
                uvloop.run(measure_receiver(running, directory, options.rate, options.seconds))
    if options.only != "receiver":
        measure_dialects(options.rounds)


if __name__ == "__main__":
    main()
