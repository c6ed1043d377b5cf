"""Logs: the form of a line, its subject, and that no line contains content."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.database.connection import Connection
from shared.database.distributed import is_distributed
from tests.support import seed
from tests.support.api import bearing
from tests.support.events import ORGANIZATION, value
from tests.support.ingesting import call
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, until
from tests.support.raw_http import ask

WRITTEN = """
import logging
from uuid import UUID
from shared.monitoring import logs
logs.configure("ingest")
log = logging.getLogger("callfold.test")
log.info("stored %d", 3, extra={"topic": "call-events", "partition": 1, "offset": 7, "stranger": "MARK"})
logs.about(organization_id=UUID(int=1), key_id=UUID(int=2))
log.debug("not at this level")
try:
    try:
        {}["MARK"]
    except KeyError as error:
        raise ConnectionRefusedError(111, "Connection refused") from error
except OSError:
    log.exception("waits")
raise ValueError("MARK")
"""


def written(log_format: str) -> list[str]:
    return lines_of(WRITTEN, status=1, log_format=log_format)


def lines_of(program: str, *, status: int, **settings: str) -> list[str]:
    """The log of a program that ends with such a fault. It contains no secret."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **{f"CALLFOLD_{name.upper()}": said for name, said in settings.items()}},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert "MARK" not in done.stderr
    return done.stderr.splitlines()


def parsed(lines: list[str]) -> list[dict[str, Any]]:
    """Lines of JSON. Each must be valid and have its time, level, service and message."""
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        assert list(entry)[:5] == ["timestamp", "level", "logger", "message", "service"]
        assert entry["timestamp"].endswith("Z")
        assert datetime.fromisoformat(entry["timestamp"]).tzinfo == UTC
    return entries


@pytest.mark.parametrize("log_format", ["json", "auto"])
@pytest.mark.processes
def test_a_line_for_machines(log_format: str) -> None:
    first, second, last = parsed(written(log_format))
    del first["timestamp"]
    assert first == {
        "level": "INFO",
        "logger": "callfold.test",
        "message": "stored 3",
        "service": "ingest",
        "topic": "call-events",
        "partition": 1,
        "offset": 7,
    }
    assert (second["level"], second["message"]) == ("ERROR", "waits")
    assert (second["organization_id"], second["key_id"]) == (str(UUID(int=1)), str(UUID(int=2)))
    where = second["exception"]
    assert where.count("Traceback (most recent call last):") == 2, "the cause, and what followed from it"
    assert where.index("KeyError") < where.index("[Errno 111] Connection refused")
    assert (last["level"], last["logger"], last["message"]) == ("CRITICAL", "callfold", "ends: ValueError")
    assert last["exception"].endswith("ValueError")


@pytest.mark.processes
def test_a_line_for_people() -> None:
    first, second, *trace = written("text")
    _, _, said = first.partition("Z ")
    assert said == "INFO callfold.test: stored 3 topic=call-events partition=1 offset=7"
    assert second.endswith(f"waits organization_id={UUID(int=1)} key_id={UUID(int=2)}")
    assert trace[0] == "Traceback (most recent call last):"


BESIDE = """
import logging, threading
from shared.monitoring import logs
from shared.kafka.client import connection_faults
logs.configure("ingest")

class Unraisable:
    def __repr__(self):
        return "MARK"
    def __del__(self):
        raise ValueError("MARK")

def end():
    raise KeyError("MARK")

Unraisable()
thread = threading.Thread(target=end, name="writer")
thread.start()
thread.join()

heard = []
with connection_faults(heard.append):
    logging.getLogger("aiokafka").handle(
        logging.LogRecord("aiokafka", logging.WARNING, "client.py", 1, "%s", (OSError("away"),), None)
    )
logging.getLogger("aiokafka.conn").warning("below the level")
assert len(heard) == 1
"""


@pytest.mark.processes
def test_what_is_raised_beside_the_program_is_a_line_too_and_a_level_holds_for_libraries() -> None:
    entries = parsed(lines_of(BESIDE, status=0, log_level="ERROR"))
    assert [(entry["level"], entry["message"]) for entry in entries] == [
        ("ERROR", "an exception that could not be raised: ValueError"),
        ("ERROR", "the thread writer ends: KeyError"),
    ]
    assert all("Traceback" in entry["exception"] for entry in entries)


SECRET_RECORDS: list[bytes | tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]] = [
    value("call.initiated", id="MARK-id", call_id="MARK-sid", from_number="MARK-from", note="MARK-note"),
    value("call.initiated", id="MARK-id", call_id="MARK-sid", from_number="MARK-from"),
    value("transcript.ready", id="2", call_id="MARK-sid", transcript="MARK-transcript"),
    value("call.ringing", status="MARK-status"),
    value("call.ringing", cost="MARK-cost"),
    value("call.ringing", timestamp="MARK-time"),
    value("call.ringing", organization_id="MARK-organization"),
    value("MARK-type"),
    value("call.ringing", nested={"MARK-key": "a\0b"}),
    value("call.ringing", duration="MARK-duration"),
    b'{"id": MARK-json',
    (b"MARK-record-key", value("call.ringing"), (("MARK-header", b"\xff"),)),
    (b"MARK-record-key", value("call.ringing"), (("MARK-header", None),)),
    value("call.ringing", id="3", call_id="MARK-refused", from_number="anonymous MARK-refused"),
    value("call.ringing", id="4", call_id="MARK-twice", to_number="twice MARK-twice"),
    value("call.ringing", id="5", call_id="MARK-twice-again", to_number="twice MARK-twice"),
]

RULES = (
    "ALTER TABLE calls ADD CONSTRAINT no_anonymous CHECK (from_number NOT LIKE 'anonymous%')",
    "CREATE UNIQUE INDEX one_callee ON calls (organization_id, to_number)",
    """
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'told: %', to_jsonb(coalesce(OLD, NEW)) || '{"x": "MARK-raised"}'; END$$
    """,
)
"""Changes by operators to tables, so that PostgreSQL's error messages quote rows."""


async def add_rules(database: Connection) -> None:
    for rule in RULES:  # Citus takes one change of tables in a statement
        await database.execute(rule)


async def tell(database: Connection, change: str, table: str) -> None:
    """Makes such changes of the table fail with a message that quotes the row."""
    shards = await database.fetch(SHARDS, table) if await is_distributed(database) else ()
    for (name,) in shards or ((table,),):
        await database.execute(
            f"CREATE TRIGGER tell BEFORE {change} ON {name} FOR EACH ROW EXECUTE FUNCTION tell()"
        )


SHARDS = "SELECT shard_name(logicalrelid, shardid) FROM pg_dist_shard WHERE logicalrelid = $1::text::regclass"
"""A trigger of a distributed table must be on its shards. All are on the server of the tests."""


async def test_no_content_of_a_record_comes_into_ingests_log(
    pipeline: Pipeline, topic: str, database: Connection, database_url: str
) -> None:
    """No content of good, bad or refused records, nor of the fault that ends the process."""
    await add_rules(database)
    secretly = database_url.replace("postgres@", "postgres:MARK-password@")
    ingest = pipeline.start(log_level="DEBUG", database_url=secretly)
    await pipeline.publish(SECRET_RECORDS)
    await pipeline.consumed()
    kept = {row["reason"] for row in await database.fetch("SELECT reason FROM quarantined_records")}
    assert any("MARK" in reason for reason in kept), "the table may keep what no log may"

    await tell(database, "INSERT", "call_events")
    await pipeline.publish(call(1))
    await until(lambda: not ingest.running, "ingest to end on a fault that does not pass")

    assert "MARK" not in ingest.log.read_text()
    entries = parsed(ingest.log.read_text().splitlines())
    assert {entry["service"] for entry in entries} == {"ingest"}
    refused = next(entry for entry in entries if "PostgreSQL refuses" in entry["message"])
    assert refused["organization_id"] == str(ORGANIZATION)
    assert {"call_id", "topic", "partition", "offset"} <= set(refused)
    assert "SQLSTATE 23" in refused["message"]
    quarantined = next(entry for entry in entries if "quarantined" in entry["message"])
    assert quarantined["topic"] == topic
    assert {"partition", "offset"} <= set(quarantined)
    last = entries[-1]
    assert (last["level"], last["message"]) == ("CRITICAL", "ends: RaiseError (SQLSTATE P0001)")
    assert "shared/store/batch.py" in last["exception"]


async def test_no_content_of_a_row_comes_into_the_aggregators_log(
    database: Connection, database_url: str, tmp_path: Path
) -> None:
    await add_rules(database)
    await tell(database, "INSERT", "daily_call_counts")
    await seed.call(database, await seed.tenant(database))
    aggregator = Service(
        "aggregator",
        tmp_path / "log",
        database_url=database_url.replace("postgres@", "postgres:MARK-password@"),
        log_level="DEBUG",
    )
    await until(lambda: not aggregator.running, "the aggregator to end")
    log = aggregator.log.read_text()
    assert "MARK" not in log
    assert parsed(log.splitlines())[-1]["message"] == "ends: RaiseError (SQLSTATE P0001)"


async def test_the_apis_log_has_ids_and_no_content(
    database: Connection,
    database_url: str,
    free_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
) -> None:
    acme = await seed.tenant(database)
    key_id = await database.fetchval(
        "SELECT id FROM api_keys WHERE organization_id = $1 AND livemode", acme.id
    )
    one = await seed.call(database, acme, from_number="MARK-from", transcript="MARK-transcript")
    other = await seed.call(database, acme, from_number="MARK-from")
    monitor, port = Monitor(free_tcp_port_factory()), free_tcp_port_factory()
    api = Service(
        "api",
        tmp_path / "log",
        database_url=database_url.replace("postgres@", "postgres:MARK-password@"),
        monitor_port=str(monitor.port),
        api_port=str(port),
        log_level="DEBUG",
    )
    requests: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/calls?status=MARK-status", {}, 400),
        ("GET", "/MARK-path?MARK-query=1", {}, 404),
        ("GET", "/calls/MARK-id", {}, 400),
        ("GET", "/calls?from_number=MARK-from&hangup_cause=MARK-cause", {}, 200),
        ("GET", "/calls?external_id=MARK-sid", {}, 200),
        ("GET", "/calls?cursor=MARK-cursor", {}, 400),
        ("GET", "/calls/stats?group_by=MARK-group", {}, 400),
        ("GET", f"/calls/{one}/events?offset=MARK", {}, 400),
        ("GET", f"/calls/{one}/recording", {}, 404),
        ("GET", "/calls", {"x-MARK": "MARK" * 20_000}, 431),
        ("GET", "/calls", {"Authorization": "Bearer kros_live_MARK-key"}, 401),
        ("GET", "/calls", {"Authorization": "Bearer MARK.jwt.signature"}, 401),
        ("GET", "/calls", {"x-organization-id": "MARK-organization"}, 400),
        ("DELETE", f"/calls/{one}", {}, 204),
    ]
    try:
        await until(monitor.is_ready, "the API to be ready")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for method, path, headers, status in requests:
                answer = await client.request(method, path, headers=bearing(acme.key) | headers)
                assert answer.status_code == status, path
            for no_http in (
                b"MARK",
                b"GET /MARK MARK\r\nMARK\r\n\r\n",
                b"GET / HTTP/1.1\r\nMARK: \0\r\n\r\n",
            ):
                await ask(port, no_http + b"\r\n\r\n")
            await add_rules(database)
            await tell(database, "DELETE", "calls")
            assert (await client.delete(f"/calls/{other}", headers=bearing(acme.key))).status_code == 500
            counted = {"route": "/calls/{id}", "method": "DELETE", "status": "500"}
            assert await monitor.value("callfold_api_requests_total", **counted) == 1
    finally:
        api.stop()

    log = api.log.read_text()
    assert "MARK" not in log
    assert acme.key not in log
    entries = parsed(log.splitlines())
    ids = {"organization_id": str(acme.id), "key_id": str(key_id)}
    deleted = next(entry for entry in entries if entry["message"] == "deleted a call")
    assert deleted.items() >= {**ids, "call_id": str(one)}.items()
    failed = next(entry for entry in entries if "exception" in entry)
    assert failed.items() >= {**ids, "call_id": str(other), "level": "ERROR"}.items()
    assert failed["exception"].endswith("RaiseError (SQLSTATE P0001)")
