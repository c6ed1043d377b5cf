"""Traces during faults: an unreachable collector, a batch that is not stored, a missing extra."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult

from services.ingest.app import Ingest
from services.ingest.traces import FOLLOWED_RECORDS_MAX
from services.ops.pipeline_lag import consumer_lag
from shared.database.connection import Connection
from shared.settings.ingest import IngestSettings
from tests.ingest.test_faults import transaction_held_open
from tests.monitoring.test_traces import WAITS_FOR_LOCK
from tests.support.collector import EXTRA, Collector, forbid_imports, traced
from tests.support.events import value
from tests.support.ingesting import GROUP, call
from tests.support.pipeline import Pipeline
from tests.support.processes import publish, until

pytestmark = pytest.mark.long


async def test_a_batch_that_is_not_stored_says_so(
    pipeline: Pipeline, topic: str, database: Connection, collector: Collector
) -> None:
    await database.execute("ALTER TABLE call_events RENAME TO elsewhere")
    await pipeline.publish([traced(1, value("call.initiated"))])
    ingest = pipeline.start(traces_url=collector.url)
    await until(lambda: not ingest.running, "the process to end")
    (span,) = collector.named(f"process {topic}")
    assert (span.failed, span.description) == (True, "not stored; it will be read again")
    assert span.attributes["error.type"] == "UndefinedTableError"
    assert (span.events, "callfold.outcome" in span.attributes) == ([], False)


async def test_a_batch_that_a_stop_gives_up_says_so(
    pipeline: Pipeline, topic: str, database: Connection, collector: Collector
) -> None:
    await pipeline.publish([traced(1, value("call.initiated"))])
    async with transaction_held_open(database):
        ingest = pipeline.start(traces_url=collector.url, stop_timeout_seconds="0.2")
        await until(lambda: database.fetchval(WAITS_FOR_LOCK), "ingest to be in its transaction")
        assert ingest.stop() == 0
    (span,) = collector.named(f"process {topic}")
    assert (span.failed, span.attributes["error.type"], span.events) == (True, "stopped", [])


class Failing(Sampler):
    """Fails at the first span with this name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.failed = False

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *more: Any, **_: Any
    ) -> SamplingResult:
        if name == self._name and not self.failed:
            self.failed = True
            raise RuntimeError("the sampler fails")
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, *more)

    def get_description(self) -> str:
        return "failing"


@pytest.mark.parametrize("span", ["{} process", "process {}"], ids=["of the batch", "of a record"])
async def test_a_fault_before_a_batch_is_read_ends_the_process_and_passes_over_nothing(
    bootstrap: str, topic: str, database_url: str, database: Connection, span: str
) -> None:
    """The first batch fails in FastStream's middleware, or in the handler; the second would be stored."""
    settings = IngestSettings(
        database_url=database_url,
        kafka_bootstrap=bootstrap,
        topic=topic,
        consumer_group=f"{GROUP}-{topic}",
        batch_records=1,
    )
    await publish(
        bootstrap, topic, [traced(1, value("call.initiated", id="1")), value("call.ringing", id="2")]
    )
    sampler = Failing(span.format(topic))
    try:
        with pytest.raises(RuntimeError, match="the sampler fails"):
            async with asyncio.timeout(30):
                await Ingest(settings, TracerProvider(sampler)).run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert sampler.failed
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0
    assert sum(one.committed for one in await consumer_lag(bootstrap, topic, settings.consumer_group)) == 0


async def test_of_a_batch_only_so_many_records_are_followed(
    pipeline: Pipeline, topic: str, collector: Collector
) -> None:
    records = [traced(n, value("call.ringing", id=str(n))) for n in range(1, FOLLOWED_RECORDS_MAX + 11)]
    await pipeline.publish(records)
    await pipeline.run_until_consumed(traces_url=collector.url)
    batches = [span.attributes for span in collector.named(f"{topic} process")]
    followed = [batch["callfold.followed"] for batch in batches]
    assert max(followed) == FOLLOWED_RECORDS_MAX
    assert len(collector.named(f"process {topic}")) == sum(followed)
    assert sum(followed) + sum(batch["callfold.followed.left_out"] for batch in batches) == len(records)


async def test_a_collector_that_is_away_harms_nothing(pipeline: Pipeline, free_tcp_port: int) -> None:
    ingest = pipeline.start(traces_url=f"http://127.0.0.1:{free_tcp_port}/v1/traces")
    for n in range(3):
        await pipeline.publish([traced(1 + n * 4 + i, one) for i, one in enumerate(call(n))])
        await pipeline.consumed()
    said = f"the collector at 127.0.0.1:{free_tcp_port} does not accept spans"
    await until(lambda: ingest.said(said), "word of the collector")
    await pipeline.assert_exact(3)
    began = time.monotonic()
    assert ingest.stop() == 0
    assert time.monotonic() - began < 10
    assert ingest.log.read_text().count("the collector at") == 1


async def test_a_collector_that_never_answers_holds_no_stop_up(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ingest = pipeline.start(traces_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
        await pipeline.publish([traced(1, value("call.initiated"))])
        await pipeline.consumed()
        began = time.monotonic()
        assert ingest.stop() == 0
        assert time.monotonic() - began < 10
        assert ingest.said("dropped the last spans, which could not be sent within 1 s")


async def test_a_stop_sends_the_last_spans(pipeline: Pipeline, topic: str, collector: Collector) -> None:
    ingest = pipeline.start(traces_url=collector.url)
    await pipeline.publish([traced(1, value("call.initiated"))])
    await pipeline.consumed()
    assert ingest.stop() == 0
    assert await collector.has(f"process {topic}")


@pytest.mark.parametrize("service", ["ingest", "api"])
@pytest.mark.processes
def test_without_the_extra_the_setting_is_refused(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_imports(monkeypatch, tmp_path, EXTRA)
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"CALLFOLD_TRACES_URL": "http://127.0.0.1:4318/v1/traces"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "Error: CALLFOLD_TRACES_URL needs callfold's extra `telemetry`, which is not installed (no module "
        "opentelemetry.exporter.otlp): "
        "install it with `pip install '.[telemetry]'` in a clone, or use an image built with "
        "LOCK=telemetry.\n",
    )


async def test_ingest_needs_nothing_of_opentelemetry(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_imports(monkeypatch, tmp_path, ("opentelemetry",))
    await pipeline.publish([traced(n, one) for n, one in enumerate(call(0), 1)])
    ingest = pipeline.start()
    await pipeline.consumed()
    await pipeline.assert_exact(1)
    assert ingest.stop() == 0


@pytest.mark.processes
def test_without_the_setting_nothing_of_the_extra_is_imported() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, services.ingest.__main__, services.api.__main__\n"
            "from shared.monitoring import traces\nfrom shared.settings.ingest import IngestSettings\n"
            "assert traces.start(IngestSettings(), 'ingest', root_ratio=1) is None\n"
            f"sys.exit(' '.join(name for name in sys.modules if name.startswith({EXTRA!r})))",
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr.strip()) == ("", "")
