"""The API with its console on a port of this machine, and calls of which each page shows a fixed part."""

import asyncio
import random
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import httpx

from services.aggregator.reap import EVERYTHING, reap
from services.api.app import create_app
from shared.calls.event import Status
from shared.database import roles
from shared.database.connection import Connection
from shared.http.server import Limits, bounded
from shared.http.serving import Address, serve
from shared.kafka.topic import ensure_topic
from shared.settings.api import ApiSettings
from shared.settings.kafka import KafkaSettings
from tests.support import seed
from tests.support.api import NOW
from tests.support.processes import until
from tests.support.roles import as_role

ACME = UUID("b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9a01")
NUMBERS = {
    UUID("b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9b01"): "+4930901820",
    UUID("b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9b02"): "+4989221100",
    UUID("b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9b03"): "+442079460000",
}
RECORDING = "https://recordings.example/talk.wav"
TRANSCRIPT = "Good morning, this is Acme.\nGood morning, I call about my order."
DAYS = 75
"""The number of days before now on which calls were created."""


class Console(NamedTuple):
    """A running console."""

    origin: str
    acme: seed.Tenant
    database_url: str
    calls_topic: str

    async def connect(self) -> Connection:
        """A connection to its database as the owner. The caller closes it."""
        return await asyncpg.connect(self.database_url)


@asynccontextmanager
async def serving_console(database_url: str, bootstrap: str, calls_topic: str) -> AsyncIterator[str]:
    """The origin of an API that follows the topic. Its clock stands still at NOW."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ApiSettings(
        database_url=as_role(database_url, roles.API),
        api_stream_check_seconds=0.2,
        api_stream_heartbeat_seconds=0.5,
    )
    kafka = KafkaSettings(kafka_bootstrap=bootstrap, calls_topic=calls_topic)
    app = create_app(settings, clock=lambda: NOW, kafka=kafka)
    stop = asyncio.Event()
    limits = Limits(1000, 10, body_bytes=65_536, body_is_read=True, server="API")
    server = asyncio.create_task(
        serve(
            app,
            bounded(limits),
            Address(host="127.0.0.1", port=port, setting="API_PORT"),
            keep_alive_seconds=65,
            stop_seconds=5,
            stop=stop,
            stopping=lambda: app.state.api.streams.end(),
        )
    )
    origin = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=origin, trust_env=False) as client:
            await until(lambda: _answers(client), "the API to be up")
        yield origin
    finally:
        stop.set()
        await server


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/live")).is_success
    except httpx.TransportError:
        return False


@asynccontextmanager
async def console_of(database_url: str, bootstrap: str, *, with_calls: bool = True) -> AsyncIterator[Console]:
    """The console of a fresh database, with the organization Acme in Berlin, and its calls."""
    topic = f"calls-{uuid.uuid4().hex[:12]}"
    await ensure_topic(bootstrap, topic, 2, compacted=True)
    database = await asyncpg.connect(database_url)
    try:
        acme = await seed.tenant(database, "Europe/Berlin", ACME)
        if with_calls:
            await seed_calls(database, acme)
    finally:
        await database.close()
    async with serving_console(database_url, bootstrap, topic) as origin:
        yield Console(origin, acme, database_url, topic)


CAUSES: dict[Status, tuple[str, ...]] = {
    "completed": ("NORMAL_CLEARING", "normal_clearing", "16"),
    "busy": ("USER_BUSY", "SIP 486"),
    "no_answer": ("NO_ANSWER",),
    "canceled": ("ORIGINATOR_CANCEL",),
    "failed": ("NORMAL_TEMPORARY_FAILURE", "UNALLOCATED_NUMBER", "the cable was cut"),
}
_STATUSES: tuple[Status, ...] = (
    *("completed",) * 11,
    "busy",
    "busy",
    "no_answer",
    "no_answer",
    "canceled",
    "failed",
    "failed",
)
_TYPES = {"completed": "call.completed", "in_progress": "call.answered", "ringing": "call.ringing"}


async def seed_calls(database: Connection, acme: seed.Tenant, count: int = 240) -> None:
    """Calls that are the same in each run, and the four calls that `TALK` and its neighbours name."""
    chosen = random.Random(20261124)
    for index in range(count):
        seconds = chosen.randrange(1, DAYS * 86_400)
        await _any_call(database, acme, chosen, index, NOW - timedelta(seconds=seconds))
    await _talk(database, acme)
    await _without_an_end(database, acme)
    for call_id, status, minutes in (("now-ringing", "ringing", 1), ("now-talking", "in_progress", 3)):
        await _stored(
            database,
            acme,
            call_id,
            NOW - timedelta(minutes=minutes),
            [(_TYPES[status], 4, {"status": status})],
        )


async def _any_call(
    database: Connection, acme: seed.Tenant, chosen: random.Random, index: int, created: datetime
) -> None:
    number, digits = chosen.choice([*NUMBERS.items(), (None, None)])
    direction = chosen.choice(["inbound", "outbound", None])
    caller = f"+4917{chosen.randrange(10**7):07}"
    ours, theirs = ("to_number", "from_number") if direction != "outbound" else ("from_number", "to_number")
    data = {
        theirs: caller,
        **({"direction": direction} if direction else {}),
        **({"phone_number_id": str(number), ours: digits} if number else {}),
    }
    status = chosen.choice(_STATUSES)
    end: dict[str, object] = {"status": status}
    if chosen.random() < 0.8:
        end["hangup_cause"] = chosen.choice(CAUSES[status])
    steps: list[tuple[str, float, dict[str, object]]] = [("call.ringing", 0.4, {})]
    if status == "completed":
        answered, seconds = chosen.uniform(1, 20), chosen.randrange(0, 900)
        end |= {"cost": round(seconds * 0.021, 4), "duration": seconds}
        steps += [("call.answered", answered, {}), ("call.completed", answered + seconds, end)]
    else:
        steps.append(("call.failed", chosen.uniform(2, 40), end))
    await _stored(database, acme, f"call-{index}", created, steps, data)


async def _talk(database: Connection, acme: seed.Tenant) -> None:
    number, digits = next(iter(NUMBERS.items()))
    await _stored(
        database,
        acme,
        "talk",
        NOW - timedelta(minutes=30),
        [
            ("call.ringing", 0.75, {}),
            ("call.answered", 6.25, {}),
            (
                "call.completed",
                96.25,
                {
                    "status": "completed",
                    "hangup_cause": "NORMAL_CLEARING",
                    "ended_by": "callee",
                    "duration": 90,
                    "cost": 1.89,
                    "recording_url": RECORDING,
                    "transcript": TRANSCRIPT,
                },
            ),
        ],
        {
            "direction": "inbound",
            "from_number": "+491701234567",
            "to_number": digits,
            "phone_number_id": str(number),
        },
    )


async def _without_an_end(database: Connection, acme: seed.Tenant) -> None:
    await _stored(
        database,
        acme,
        "without-an-end",
        NOW - timedelta(hours=5),
        [("call.ringing", 1, {})],
        {"direction": "outbound", "from_number": "+4989221100", "to_number": "+33140200000"},
    )
    await reap(database, NOW, timedelta(hours=2), read_until=EVERYTHING)


async def _stored(
    database: Connection,
    acme: seed.Tenant,
    call_id: str,
    created: datetime,
    steps: list[tuple[str, float, dict[str, object]]],
    data: dict[str, object] | None = None,
) -> UUID:
    events = [seed.event(acme, call_id, created, "call.initiated", event_id=f"{call_id}-0", **(data or {}))]
    events += [
        seed.event(
            acme, call_id, created + timedelta(seconds=after), type_, event_id=f"{call_id}-{index}", **said
        )
        for index, (type_, after, said) in enumerate(steps, 1)
    ]
    return await seed.store(database, acme, events)
