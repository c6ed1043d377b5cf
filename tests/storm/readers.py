"""API clients during the storm: they read and delete, and check each answer against earlier ones."""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import httpx

from tests.storm.stage import Stage, StormBroke
from tests.storm.workload import CallKey
from tests.support.api import bearing

READERS: Final = 4
FOLLOWED: Final = 24
"""The number of calls that a reader reads repeatedly, each about `LOOKS` times."""
LOOKS: Final = 12
PAUSE_SECONDS: Final = 0.05
AGAIN_SECONDS: Final = 0.1
DELETE_EVERY_SECONDS: Final = 0.2


async def read_on(stage: Stage, chance: random.Random) -> None:
    """Sends one request after the other. Raises StormBroke at the first wrong answer."""
    followed: deque[CallKey] = deque(maxlen=FOLLOWED)
    while True:
        begun = stage.workload.calls_in(stage.published)
        if begun:
            if len(followed) < FOLLOWED or chance.random() < 1 / LOOKS:
                latest = begun[-2_000:]
                followed.append(chance.choice(latest if chance.random() < 0.8 else begun))
            await _ask(stage, chance, followed)
        await asyncio.sleep(PAUSE_SECONDS)


async def delete_on(stage: Stage, chance: random.Random) -> None:
    """Deletes a call from time to time."""
    while True:
        await asyncio.sleep(DELETE_EVERY_SECONDS)
        begun = stage.workload.calls_in(stage.published)
        if begun:
            await delete(stage, chance.choice(begun[-5_000:]))


async def delete(stage: Stage, key: CallKey) -> None:
    """Deletes one call, and retries until it gets 204, or 404 if the call does not exist (yet, or any
    more)."""
    stage.seen.asked_to_delete.add(key)
    while (response := await _send(stage, "DELETE", f"/calls/{key[1]}", _key(stage, key))) is None:
        await asyncio.sleep(AGAIN_SECONDS)
    if response.status_code == httpx.codes.NO_CONTENT:
        stage.checked["deletes"] += 1
        stage.seen.deleted.add(key)
        stage.seen.gone(key)


async def look_at(stage: Stage, key: CallKey) -> None:
    """Reads one call, and compares it with earlier answers. Raises StormBroke."""
    floor = stage.seen.floor(key)
    response = await _send(stage, "GET", f"/calls/{key[1]}", _key(stage, key))
    if response is None:
        return
    if response.status_code == httpx.codes.NOT_FOUND:
        wrong = stage.seen.missing(key, floor)
    else:
        call = response.json()
        ids = [event["id"] for event in call["events"]]
        wrong = stage.seen.there(key, floor, call["status"], ids)
    if wrong:
        raise StormBroke(f"{wrong}: call {key[1]} of organization {key[0]}: {response.text}")
    stage.checked["details"] += 1


async def _ask(stage: Stage, chance: random.Random, followed: deque[CallKey]) -> None:
    question = chance.random()
    key = chance.choice(followed)
    if question < 0.7:
        await look_at(stage, key)
    elif question < 0.85:
        await _list(stage, key, narrow=chance.random() < 0.8)
    elif question < 0.93:
        stats = await _numbers(stage, key, action="stats")
        if stats:
            _agree(
                stats, stats["total"], sum(stats["by_status"].values()), sum(stats["by_direction"].values())
            )
            stage.checked["stats"] += 1
    else:
        trends = await _numbers(stage, key, action="trends")
        for day in trends["data"] if trends else ():
            _agree(day, day["total"], sum(day["by_status"].values()))
        stage.checked["trends"] += trends is not None


async def _list(stage: Stage, key: CallKey, *, narrow: bool) -> None:
    """Lists the newest calls. A narrow list has those of one phone number and day: its total comes from the
    counts, and must equal the number of calls in the same snapshot."""
    outcome = stage.workload.outcomes[key]
    query = {"limit": "100"}
    if narrow:
        numbers = {event.data.get("phone_number_id") for event in stage.workload.events[key].values()}
        number = next((one for one in numbers if one is not None), None)
        query |= {"start_date": str(outcome.day), "end_date": str(outcome.day + timedelta(days=1))}
        query |= {} if number is None else {"phone_number_id": str(number), "status": outcome.status}
    gone = {str(call_id) for _, call_id in stage.seen.deleted}
    listed = await _numbers(stage, key, **query)
    if listed is None:
        return
    wrong = stage.seen.back_in_list(listed["data"], gone)
    if wrong:
        raise StormBroke(f"{wrong}, for {query}")
    _agree(query, len(listed["data"]), min(listed["total"], 100))
    stage.checked["lists"] += 1


def _agree(answer: object, *numbers: int) -> None:
    if len(set(numbers)) != 1 or min(numbers) < 0:
        raise StormBroke(f"numbers in one answer disagree: {numbers} in {answer}")


async def _numbers(stage: Stage, key: CallKey, **query: str) -> Any:
    """The answer to GET /calls; None if the API is unreachable."""
    response = await _send(stage, "GET", "/calls", _key(stage, key), query)
    if response is not None and response.status_code != httpx.codes.OK:
        raise StormBroke(f"GET /calls with {query} was answered {response.status_code}: {response.text}")
    return None if response is None else response.json()


async def _send(
    stage: Stage,
    method: str,
    path: str,
    key: str,
    query: Mapping[str, str] | None = None,
) -> httpx.Response | None:
    """A definite response; None if the API or its database is unreachable. Raises StormBroke."""
    try:
        response = await stage.client.request(method, path, headers=bearing(key), params=query)
    except httpx.TransportError:
        stage.checked["requests without an answer"] += 1
        return None
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        stage.checked["answers 503"] += 1
        return None
    if response.status_code not in (httpx.codes.OK, httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
        raise StormBroke(f"{method} {path} was answered {response.status_code}: {response.text}")
    return response


def _key(stage: Stage, key: CallKey) -> str:
    """The API key that may read this call."""
    return stage.keys[key[0], stage.workload.outcomes[key].livemode]
