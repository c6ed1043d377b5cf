"""SIPp makes calls of every outcome through Kamailio, and callfold's calls equal SIPp's own statistics.

Kamailio runs with the configuration that `docs/how-to/connect-kamailio.md` recommends.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.ops.embedded.state import free_ports
from shared.database.connection import Connection
from shared.database.roles import RECEIVER
from shared.kafka.topic import DELIVERY_BYTES_MAX, ensure_topic
from tests.support import sipp_scenarios as scenarios
from tests.support.command_line import callfold
from tests.support.kamailio import Kamailio, kamailio, needs_kamailio
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, until
from tests.support.receiving import KEY
from tests.support.roles import as_role
from tests.support.sipp import Caller, Message, callee
from tests.support.sipp_scenarios import FOREIGN, OWN, Outcome

pytestmark = [needs_kamailio, pytest.mark.long]

SECONDS_OF_SLACK: Final = 1
"""SIPp may log a message this long after it sent it."""
CALLEE_TALKS_MILLISECONDS: Final = 500


class Group(NamedTuple):
    """Calls of one outcome, and what callfold must say of each."""

    scenario: str
    number: str
    calls: int
    status: str
    direction: str
    cause: str | None = None


GROUPS: Final[Mapping[str, Group]] = {
    "caller_hangs_up": Group(
        scenarios.hangs_up(OWN, FOREIGN, 1500),
        scenarios.number(Outcome.ANSWERS),
        *(6, "completed", "outbound", "NORMAL_CLEARING"),
    ),
    "callee_hangs_up": Group(
        scenarios.is_hung_up_on(FOREIGN, OWN),
        scenarios.number(Outcome.ANSWERS_AND_HANGS_UP),
        *(6, "completed", "inbound"),
    ),
    "forwarded_on_busy": Group(
        scenarios.hangs_up(FOREIGN, OWN, 500),
        scenarios.number(Outcome.IS_BUSY_AT_FIRST),
        *(6, "completed", "inbound", "NORMAL_CLEARING"),
    ),
    "vanished": Group(
        scenarios.vanishes(OWN, FOREIGN),
        scenarios.number(Outcome.ANSWERS_AND_VANISHES),
        *(2, "completed", "outbound", "RECOVERY_ON_TIMER_EXPIRE"),
    ),
    "canceled": Group(
        scenarios.cancels(OWN, FOREIGN, 300),
        scenarios.number(Outcome.RINGS),
        *(5, "canceled", "outbound", "SIP 487"),
    ),
    "not_answered": Group(
        scenarios.is_refused(OWN, FOREIGN, 408),
        scenarios.number(Outcome.RINGS),
        *(5, "no_answer", "outbound", "SIP 408"),
    ),
    "refused_by_the_proxy": Group(
        scenarios.dials_nobody(OWN, FOREIGN, 484),
        scenarios.number(Outcome.ANSWERS),
        *(5, "failed", "outbound", "SIP 484"),
    ),
    **{
        f"refused_{code}": Group(
            scenarios.is_refused(FOREIGN, OWN, code),
            scenarios.number(Outcome.REFUSES, code),
            *(5, status, "inbound", f"SIP {code}"),
        )
        for code, status in {404: "failed", 480: "no_answer", 486: "busy", 603: "failed"}.items()
    },
}


@pytest.fixture
async def deliveries_topic(bootstrap: str) -> str:
    """A topic of deliveries for this test."""
    name = f"call-deliveries-{uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, 2, record_bytes_max=DELIVERY_BYTES_MAX)
    return name


@dataclass(frozen=True)
class Site:
    """A source in callfold, callees, and what Kamailio and the receiver must be started with."""

    organization_id: UUID
    directory: Path
    port: int
    values: Mapping[str, str]
    """The values of Kamailio's configuration."""
    receiver: Mapping[str, str]
    """The receiver's settings."""
    monitor: Monitor

    def proxy(self) -> AbstractAsyncContextManager[Kamailio]:
        """Kamailio, while it runs."""
        return kamailio(self.directory, self.port, **self.values)

    def caller(self, name: str, group: Group) -> Caller:
        """The caller of a group."""
        return Caller(self.directory, group.scenario, self.port, name=name, number=group.number)

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """The receiver, while it runs, from the moment when it is ready."""
        service = Service("receiver", self.directory / "receiver.log", **self.receiver)
        try:
            await until(self.monitor.is_ready, "the receiver to be ready")
            yield
        finally:
            if service.running:
                service.kill()


@pytest.fixture
async def site(
    pipeline: Pipeline, deliveries_topic: str, monitor: Monitor, tmp_path: Path
) -> AsyncIterator[Site]:
    """Everything but Kamailio, the receiver and the callers runs."""
    port, callee_port, voicemail_port, receiver_port = free_ports(4)
    organization_id, source_id = await _connect(pipeline.database_url)
    pipeline.start(deliveries_topic=deliveries_topic, secrets_key=KEY)
    address = f"http://kamailio:s3cret@127.0.0.1:{receiver_port}/hooks/{source_id}"
    with ExitStack() as started:
        for name, own_port in (("callee", callee_port), ("voicemail", voicemail_port)):
            scenario = scenarios.takes(CALLEE_TALKS_MILLISECONDS, busy_at_first=name == "callee")
            started.enter_context(callee(tmp_path, scenario, name, own_port))
        yield Site(
            organization_id,
            tmp_path,
            port,
            values={
                "NEXT_HOP": f'"sip:127.0.0.1:{callee_port}"',
                "FORWARD_ON_BUSY": f'"sip:127.0.0.1:{voicemail_port}"',
                # Several would pass 180 and 200 on in either order, which SIPp counts as a fault.
                "WORKERS": "1",
                "RING_MILLISECONDS": "1500",
                "CALL_SECONDS": "5",
                "CALLFOLD_CONNECTION": f'"callfold=>{address}"',
            },
            receiver={
                "database_url": as_role(pipeline.database_url, RECEIVER),
                "kafka_bootstrap": pipeline.bootstrap,
                "deliveries_topic": deliveries_topic,
                "secrets_key": KEY,
                "receiver_port": str(receiver_port),
                "monitor_port": str(monitor.port),
            },
            monitor=monitor,
        )


async def test_calls_equal_what_sipp_counted(pipeline: Pipeline, database: Connection, site: Site) -> None:
    """The receiver starts after the first calls: until then, the reports wait in Kamailio."""
    callers = {name: site.caller(name, group) for name, group in GROUPS.items()}
    async with site.proxy() as proxy:
        with ExitStack() as started:
            for name, caller in callers.items():
                started.callback(caller.kill)
                caller.start(GROUPS[name].calls)
            await until(lambda: proxy.said("callfold did not take"), "reports to wait")
            async with site.receiving():
                await until(lambda: all(one.has_ended for one in callers.values()), "SIPp to end")
                said = {name: caller.statistics() for name, caller in callers.items()}
                for name, group in GROUPS.items():
                    counted = (said[name].created, said[name].successful, said[name].failed)
                    assert counted == (group.calls, group.calls, 0), f"{name}: {callers[name].errors()}"
                messages = [call for one in said.values() for call in one.calls.values()]
                expected = sum(_reports(call) for call in messages)
                await _until_stored(database, expected)

    rows = {row["external_id"]: row for row in await database.fetch("SELECT * FROM calls")}
    assert rows.keys() == {call_id for one in said.values() for call_id in one.calls}
    for name, group in GROUPS.items():
        for call_id, call in said[name].calls.items():
            _compare(rows[call_id], group, call)
            assert rows[call_id]["organization_id"] == site.organization_id
    assert Counter(row["status"] for row in rows.values()) == _statuses()
    assert await database.fetchval("SELECT count(*) FROM call_events") == expected, "each report once"
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0
    await pipeline.assert_proved()


async def test_a_call_that_outlasts_a_restart_of_kamailio(
    pipeline: Pipeline, database: Connection, site: Site
) -> None:
    """Kamailio forgets its dialogs. It reports the BYE of such a call, which names no organization."""
    group = GROUPS["caller_hangs_up"]._replace(scenario=scenarios.hangs_up(OWN, FOREIGN, 2500), calls=1)
    caller = site.caller("restart", group)
    async with site.receiving():
        try:
            async with site.proxy():
                caller.start(group.calls)
                await _until_stored(database, 3)
            async with site.proxy():
                await until(lambda: caller.has_ended, "SIPp to end")
                await _until_stored(database, 4)
        finally:
            caller.kill()
    ((call_id, call),) = caller.statistics().calls.items()
    row = await database.fetchrow("SELECT * FROM calls WHERE external_id = $1", call_id)
    assert row is not None
    _compare(row, group, call)
    assert await database.fetchval("SELECT count(*) FROM call_events") == 4
    await pipeline.assert_proved()


async def _until_stored(database: Connection, events: int) -> None:
    async def stored() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM call_events") >= events)

    await until(stored, f"{events} events to be stored")


def _statuses() -> Counter[str]:
    statuses: Counter[str] = Counter()
    for group in GROUPS.values():
        statuses[group.status] += group.calls
    return statuses


async def _connect(database_url: str) -> tuple[UUID, UUID]:
    """The organization and the source, as an operator creates them."""
    there = {"database_url": database_url, "secrets_key": KEY}
    organization = (await callfold("org", "create", "Acme", "--json", **there)).json
    source = await callfold(
        *("source", "create", "proxy", "--dialect", "kamailio", "--map", f"{OWN}={organization['id']}"),
        *("--secret", "username=kamailio", "--secret", "password=s3cret", "--json"),
        **there,
    )
    return UUID(organization["id"]), UUID(source.json["id"])


def _final(call: list[Message]) -> Message:
    """The final response to the INVITE. A 200 may be repeated."""
    return next(one for one in call if one.cseq == "1 INVITE" and (one.code or 0) >= 200)


def _bye(call: list[Message]) -> Message | None:
    return next((one for one in call if one.first_line.startswith("BYE ")), None)


def _reports(call: list[Message]) -> int:
    """How many reports Kamailio makes of a call: begin, ringing, answer, end."""
    ringing = len({one.code for one in call} & {180})
    return 1 + ringing + (2 if _final(call).code == 200 else 1)


def _compare(row: asyncpg.Record, group: Group, call: list[Message]) -> None:
    """Fails unless callfold's call is the one that SIPp made."""
    final, bye = _final(call), _bye(call)
    found: dict[str, Any] = {
        name: row[name] for name in ("status", "direction", "hangup_cause", "from_number", "to_number")
    }
    assert found == {
        "status": group.status,
        "direction": group.direction,
        "hangup_cause": group.cause,
        "from_number": scenarios.CALLER,
        "to_number": group.number,
    }
    begin = call[0].instant - SECONDS_OF_SLACK
    assert begin <= _seconds(row["created_at"]) <= final.instant
    if final.code != 200:
        assert (row["answered_at"], row["duration"]) == (None, None)
        assert _seconds(row["created_at"]) <= _seconds(row["completed_at"]) <= final.instant
        return
    assert _seconds(row["created_at"]) <= _seconds(row["answered_at"]) <= final.instant
    talk = _seconds(row["completed_at"]) - _seconds(row["answered_at"])
    assert row["duration"] == int(talk)
    if bye is None:
        assert talk > 1, "Kamailio ends it by its timer"
    elif bye.is_sent:
        # Kamailio sees the answer before its caller does, and the end after it. On an idle machine both
        # bounds are the same number.
        shortest, longest = bye.instant - final.instant, call[-1].instant - call[0].instant
        assert int(shortest) <= row["duration"] <= int(longest)
        assert bye.instant - SECONDS_OF_SLACK <= _seconds(row["completed_at"]) <= call[-1].instant
    else:
        assert row["duration"] <= int(bye.instant - call[0].instant)
        assert final.instant <= _seconds(row["completed_at"]) <= bye.instant


def _seconds(instant: datetime) -> float:
    return instant.timestamp()
