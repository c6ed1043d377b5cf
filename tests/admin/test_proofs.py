"""Recorded proofs: `callfold verify --record`, and the routes that show and start them."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from services.ops.admin import models
from services.ops.proof import recorded_proofs
from services.ops.proof.difference import Difference
from services.ops.proof.proof import Progress, Proof
from services.ops.proof.recorded_proofs import begin_proof, find_proof, run_recorded
from services.ops.terminal.failure import Failure
from shared.database.connection import Connection
from shared.database.roles import OPERATOR
from tests.admin.conftest import NOW
from tests.support.command_line import callfold
from tests.support.events import event
from tests.support.processes import until
from tests.support.roles import as_role
from tests.support.storing import stored


async def test_a_proof_is_recorded_with_its_result(
    admin: httpx.AsyncClient, database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated"))
    url = as_role(database_url, OPERATOR)
    assert (await callfold("verify", "--record", "--json", database_url=url)).json["exact"]
    (proof,) = (await admin.get("/admin/proofs")).json()["data"]
    assert proof == (await admin.get(f"/admin/proofs/{proof['id']}")).json()
    assert proof.keys() == models.Proof.model_fields.keys()
    assert (proof["state"], proof["exact"], proof["differences_found"]) == ("exact", True, 0)
    assert (proof["calls"], proof["calls_done"], proof["events"], proof["deltas"]) == (1, 1, 1, 1)
    assert proof["started_at"] <= proof["heartbeat_at"] <= proof["finished_at"]


async def test_differences_are_recorded_without_content_of_calls(
    database: Connection, database_url: str
) -> None:
    await stored(database, event("call.initiated", to_number="+14155550100"))
    await database.execute("UPDATE calls SET to_number = '+4930123456', status = 'busy'")
    done = await callfold("verify", "--record", database_url=database_url)
    assert (done.status, "+4930123456" in done.output) == (1, True)
    row = await database.fetchrow("SELECT * FROM proofs")
    assert row is not None
    assert (row["exact"], row["differences_found"]) == (False, 5)
    assert [one.split(" ")[0] for one in row["differences"]] == ["call", *["cell"] * 4]
    assert row["differences"][0].endswith(": status, to_number")
    assert "+49" not in str(dict(row))


async def test_only_a_whole_proof_is_recorded(database_url: str) -> None:
    for options in (("--calls", "1"), ("--topic",), ("--organization", str(UUID(int=1)))):
        done = await callfold("verify", "--record", *options, database_url=database_url)
        assert done.failure.startswith("--record needs a whole proof")


async def test_one_proof_is_recorded_at_a_time(
    admin: httpx.AsyncClient, database: Connection, database_url: str
) -> None:
    await begin_proof(database)
    done = await callfold("verify", "--record", database_url=database_url)
    assert done.failure == "Another recorded proof is running: wait for its end."
    refused = await admin.post("/admin/proofs")
    assert (refused.status_code, refused.json()["code"]) == (409, "PROOF_RUNS")
    assert (await callfold("verify", database_url=database_url)).status == 0, (
        "one that is not recorded may run"
    )


async def test_a_proof_without_a_heartbeat_is_lost_and_blocks_no_other(
    admin: httpx.AsyncClient, database: Connection
) -> None:
    lost = await begin_proof(database)
    assert await _state(admin, lost) == "running"
    await database.execute("UPDATE proofs SET heartbeat_at = now() - interval '16 s'")
    assert await _state(admin, lost) == "lost"
    await begin_proof(database)


async def test_the_progress_is_stored_while_it_runs(
    admin: httpx.AsyncClient, database: Connection, rival: Connection
) -> None:
    proof_id = await begin_proof(database)
    go_on = asyncio.Event()

    async def prove(proved: Progress) -> Proof:
        proved(5, 10)
        await go_on.wait()
        return Proof(NOW, 1, 10, 20, 0, 0, (), 0)

    running = asyncio.create_task(run_recorded(rival, proof_id, prove))

    async def has_progress() -> bool:
        shown = (await admin.get(f"/admin/proofs/{proof_id}")).json()
        return (shown["state"], shown["calls_done"], shown["calls_expected"]) == ("running", 5, 10)

    await until(has_progress, "the progress")
    go_on.set()
    assert (await running).exact
    assert await _state(admin, proof_id) == "exact"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Failure("Not migrated."), "Not migrated."),
        (ValueError("number +4930123456"), "ValueError."),
    ],
)
async def test_a_proof_that_fails_says_why_without_content(
    database: Connection, fault: Exception, sentence: str
) -> None:
    proof_id = await begin_proof(database)

    async def prove(proved: Progress) -> Proof:
        raise fault

    with pytest.raises(type(fault)):
        await run_recorded(database, proof_id, prove)
    row = await find_proof(database, proof_id)
    assert row is not None
    assert (row["state"], row["error"]) == ("failed", sentence)


async def test_only_the_newest_proofs_are_kept(database: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_proofs, "PROOFS_KEPT", 3)
    for _ in range(5):
        proof_id = await begin_proof(database)
        await database.execute("UPDATE proofs SET finished_at = now(), exact = true")
    kept = await recorded_proofs.list_proofs(database, 100)
    assert (len(kept), kept[0]["id"]) == (3, proof_id)


async def test_a_difference_of_a_cell_keeps_its_counts() -> None:
    cell = {
        "o": 1,
        "livemode": True,
        "day": "2026-11-24",
        "direction": "inbound",
        "n": None,
        "status": "busy",
    }
    of_cell = Difference("cell", UUID(int=1), {"calls": 1}, {"calls": 2}, cell=cell)
    assert recorded_proofs._without_values(of_cell) == str(of_cell)


async def test_a_proof_is_started_in_a_process_of_its_own(
    admin: httpx.AsyncClient, database: Connection
) -> None:
    await stored(database, event("call.initiated"))
    started = await admin.post("/admin/proofs")
    assert (started.status_code, started.json()["state"]) == (202, "running")
    assert started.json().keys() == models.Proof.model_fields.keys()

    async def is_exact() -> bool:
        return bool(await _state(admin, started.json()["id"]) == "exact")

    await until(is_exact, "the proof to finish")


async def test_a_proof_that_cannot_store_its_error_logs_it(
    app: FastAPI, admin: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    app.state.admin.proof._database_url = "postgresql://user:SECRET@127.0.0.1:1/callfold"
    started = await admin.post("/admin/proofs")
    assert started.status_code == 202
    await until(lambda: caplog.messages, "the reason in the log")
    assert caplog.messages == [
        "a proof failed: PostgreSQL can't be reached at callfold on 127.0.0.1:1: connection refused."
    ]


async def _state(admin: httpx.AsyncClient, proof_id: Any) -> Any:
    return (await admin.get(f"/admin/proofs/{proof_id}")).json()["state"]
