"""Statements by shard: with every function of the organization as its shard, the stored rows are the same."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.calls.event import Event
from shared.database.connection import Connection
from shared.store.batch import read_known
from shared.store.by_shard import ShardOf, by_shard
from shared.store.changes import group
from tests.support.events import NOON, event
from tests.support.storing import arrivals, store

ORGANIZATIONS, CALLS = 4, 3

batches = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, ORGANIZATIONS - 1),
            st.integers(1, CALLS),
            st.sampled_from(["call.initiated", "call.answered", "call.completed"]),
        ),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=3,
)


async def rows(database: Connection, owners: list[UUID]) -> list[Any]:
    """The stored rows of each of these organizations."""
    statements = (
        "SELECT id, status, version, revision FROM calls WHERE organization_id = $1 ORDER BY id",
        "SELECT call_id, id, type FROM call_events WHERE organization_id = $1 ORDER BY call_id, id",
        "SELECT status, sum(calls) FROM daily_call_deltas WHERE organization_id = $1 GROUP BY 1 ORDER BY 1",
    )
    return [
        [tuple(row) for row in await database.fetch(statement, owner)]
        for owner in owners
        for statement in statements
    ]


@pytest.mark.one_postgres("its shards are drawn, so a part has organizations of several")
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    batches=batches,
    shards=st.lists(st.none() | st.integers(0, 2), min_size=ORGANIZATIONS, max_size=ORGANIZATIONS),
    deleted=st.sets(st.tuples(st.integers(0, ORGANIZATIONS - 1), st.integers(1, CALLS)), max_size=3),
)
async def test_parts_change_no_result(
    database: Connection,
    batches: list[list[tuple[int, int, str]]],
    shards: list[int | None],
    deleted: set[tuple[int, int]],
) -> None:
    whole, parted = ([uuid4() for _ in range(ORGANIZATIONS)] for _ in range(2))
    shard_of: ShardOf = dict(zip(parted, shards, strict=True)).__getitem__
    for owner, call in deleted:
        for owners in (whole, parted):
            await database.execute("INSERT INTO deleted_calls VALUES ($1, $2)", owners[owner], UUID(int=call))

    def events(owners: list[UUID], batch: list[tuple[int, int, str]]) -> list[Event]:
        return [
            event(type, id=type, organization_id=owners[owner], call_id=UUID(int=call))
            for owner, call, type in batch
        ]

    for batch in batches:
        await store(database, arrivals(*events(whole, batch)), [], now=NOON)
        await store(database, arrivals(*events(parted, batch)), [], now=NOON, shard_of=shard_of)
    assert await rows(database, parted) == await rows(database, whole)

    asked = group(events(parted, [one for batch in batches for one in batch]))
    assert await read_known(database, asked, shard_of=shard_of) == await read_known(database, asked)


@given(
    items=st.lists(st.integers(0, 9)),
    shards=st.none() | st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
def test_each_item_is_in_one_part_and_each_part_in_one_shard(
    items: list[int], shards: list[int] | None
) -> None:
    owners = [UUID(int=n) for n in range(10)]
    shard_of = None if shards is None else dict(zip(owners, shards, strict=True)).__getitem__
    parts = by_shard(items, owners.__getitem__, shard_of)
    assert sorted(item for part in parts for item in part.items) == sorted(items)
    for part in parts:
        if shard_of is None:
            assert part.organizations is None
            continue
        assert part.organizations is not None
        assert set(part.organizations) == {owners[item] for item in part.items}
        assert len({shard_of(one) for one in part.organizations}) == 1
