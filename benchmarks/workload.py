"""The benchmarks' workload: calls of 30 days as a telephony system publishes them, with 2% duplicates,
reordered within 2,000 records. Seeded: the same arguments give the same records."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

ORGANIZATIONS: Final = 20
PHONE_NUMBERS: Final = 4
END: Final = datetime(2026, 11, 1, tzinfo=UTC)
DAYS: Final = 30
REORDERED_WITHIN: Final = 2_000
DUPLICATES: Final = 0.02


def records(
    calls: int, seed: int = 1, days: float = DAYS, organizations: int = ORGANIZATIONS
) -> list[tuple[bytes, bytes]]:
    """Returns (key, value) of each record, in publishing order: about 4.05 records per call."""
    chance = random.Random(seed)
    made: list[tuple[float, tuple[bytes, bytes]]] = []
    for call in _calls(calls, chance, days, organizations):
        for record in call:
            made.append((len(made) + chance.random() * REORDERED_WITHIN, record))
            if chance.random() < DUPLICATES:
                made.append((len(made) + chance.random() * REORDERED_WITHIN, record))
    made.sort(key=lambda placed: placed[0])
    return [record for _, record in made]


def _calls(
    calls: int, chance: random.Random, days: float, organizations: int
) -> Iterator[list[tuple[bytes, bytes]]]:
    owners = [_uuid(chance) for _ in range(organizations)]
    phone_numbers = {owner: [_uuid(chance) for _ in range(PHONE_NUMBERS)] for owner in owners}
    for n in range(calls):
        organization = chance.choice(owners)
        yield _call(
            chance,
            organization,
            chance.choice(phone_numbers[organization]),
            END - timedelta(days=days) * (1 - n / calls),
        )


def _call(
    chance: random.Random, organization: UUID, phone_number: UUID, start: datetime
) -> list[tuple[bytes, bytes]]:
    call_id = str(_uuid(chance))
    at = start

    def event(kind: str, data: str) -> tuple[bytes, bytes]:
        return call_id.encode(), (
            f'{{"id":"evt_{chance.getrandbits(64):016x}","type":"{kind}","organization_id":"{organization}",'
            f'"call_id":"{call_id}","timestamp":"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",'
            f'"livemode":true,"data":{data}}}'
        ).encode()

    direction = chance.choice(("inbound", "outbound"))
    made = [
        event(
            "call.initiated",
            f'{{"from_number":"+4930{chance.randrange(10**7):07}","to_number":"+1212{chance.randrange(10**7):07}",'
            f'"direction":"{direction}","phone_number_id":"{phone_number}"}}',
        )
    ]
    at += timedelta(seconds=1)
    made.append(event("call.ringing", '{"status":"ringing"}'))
    at += timedelta(seconds=chance.randrange(2, 30))
    if chance.random() < 0.75:
        made.append(event("call.answered", f'{{"latency_ms":{chance.randrange(50, 900)}}}'))
        duration = int(chance.lognormvariate(4, 1)) + 1
        at += timedelta(seconds=duration)
        made.append(
            event(
                "call.completed",
                f'{{"duration":{duration},"cost":{duration * 0.0125:.4f},"hangup_cause":"NORMAL_CLEARING"}}',
            )
        )
        if chance.random() < 0.3:
            at += timedelta(seconds=5)
            made.append(
                event("recording.ready", f'{{"recording_url":"https://recordings.example/{call_id}.wav"}}')
            )
    else:
        status = chance.choice(("failed", "busy", "no_answer", "canceled"))
        made.append(event("call.failed", f'{{"status":"{status}","hangup_cause":"{status.upper()}"}}'))
    return made


def _uuid(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
