"""Catching up reads one organization's changes between two positions, and nothing after them."""

from uuid import uuid4

import pytest
from aiokafka.errors import OffsetOutOfRangeError

from services.api.stream.catch_up import changes_between
from services.api.stream.change import channel_of
from tests.stream.conftest import Told


async def test_it_ends_where_the_process_has_read(bootstrap: str, calls_topic: str, told: Told) -> None:
    acme, globex = uuid4(), uuid4()
    for _ in range(6):
        await told.all([(owner, uuid4(), {}) for owner in (acme, globex) for _ in range(4)])
    channel = channel_of(acme, livemode=True)

    async def between(begins: tuple[int, ...], ends: tuple[int, ...]) -> list[tuple[int, int]]:
        found, reached = [], begins
        async for changes, offsets in changes_between(bootstrap, calls_topic, channel, begins, ends):
            found += [(change.partition, change.offset) for change in changes]
            assert {change.channel for change in changes} <= {channel}
            reached = offsets
        assert reached == ends
        return sorted(found)

    whole = await between((0, 0), (20, 20))
    assert await between((0, 0), (9, 12)) == [at for at in whole if at[1] < (9, 12)[at[0]]]
    assert await between((9, 12), (20, 20)) == [at for at in whole if at[1] >= (9, 12)[at[0]]]
    assert await between((9, 12), (9, 12)) == []


async def test_offsets_that_kafka_does_not_have_are_reported(bootstrap: str, calls_topic: str) -> None:
    with pytest.raises(OffsetOutOfRangeError):
        async for _ in changes_between(bootstrap, calls_topic, b"", (500, 0), (900, 0)):
            pass
