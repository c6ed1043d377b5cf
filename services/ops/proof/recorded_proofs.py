"""Recorded proofs: a row for each run of `callfold verify --record`, with its progress and its result.

The row keeps no content of calls, because a call can be deleted or pruned after its proof: of a difference in
a call, it names the fields and not their values.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID, uuid4

from asyncpg import Record

from services.ops.proof.difference import Difference
from services.ops.proof.proof import Progress, Proof
from services.ops.terminal.failure import Failure
from shared.database.connection import Connection
from shared.database.held_locks import hold_alone
from shared.database.locks import PROOF_LOCK
from shared.database.loggable import loggable
from shared.database.statement import Statement

HEARTBEAT_SECONDS: Final = 1
LOST_SECONDS: Final = 15
"""A proof without a heartbeat for so long is lost: its process has ended, or cannot reach the database."""
PROOFS_KEPT: Final = 1_000
DIFFERENCES_STORED: Final = 25


class ProofRuns(Exception):
    """Another recorded proof is running."""


async def begin_proof(connection: Connection) -> UUID:
    """Stores a new proof, removes the oldest beyond `PROOFS_KEPT`, and returns its id. Raises ProofRuns while
    another one runs, and asyncpg's errors."""
    async with connection.transaction():
        await hold_alone(connection, PROOF_LOCK)
        if await _RUNS.fetchval(connection, lost=LOST_SECONDS):
            raise ProofRuns
        await _REMOVE.fetch(connection, kept=PROOFS_KEPT - 1)
        proof_id = uuid4()
        await _BEGIN.fetch(connection, id=proof_id)
    return proof_id


async def run_recorded(
    connection: Connection, proof_id: UUID, prove: Callable[[Progress], Awaitable[Proof]]
) -> Proof:
    """Runs a proof that `begin_proof` has stored, and returns its result. `connection` is not that of the
    proof: about once a second it stores the progress, and at the end the result or the fault. Raises what
    `prove` raises, and asyncpg's errors."""
    progress: tuple[int, int | None] = 0, None

    def proved(calls: int, expected: int | None) -> None:
        nonlocal progress
        progress = calls, expected

    async def store_progress() -> None:
        done, expected = progress
        await _PROGRESS.fetch(connection, id=proof_id, done=done, expected=expected)

    proving = asyncio.ensure_future(prove(proved))
    try:
        while not proving.done():
            await store_progress()
            await asyncio.wait({proving}, timeout=HEARTBEAT_SECONDS)
    finally:
        proving.cancel()
        await asyncio.wait({proving})
    try:
        proof = proving.result()
    except Exception as fault:
        await _FAIL.fetch(connection, id=proof_id, error=_sentence(fault))
        raise
    await store_progress()
    await _finish(connection, proof_id, proof)
    return proof


def _sentence(fault: Exception) -> str:
    """The fault, without content."""
    return str(fault) if isinstance(fault, Failure) else f"{loggable(fault)}."


async def _finish(connection: Connection, proof_id: UUID, proof: Proof) -> None:
    await _FINISH.fetch(
        connection,
        id=proof_id,
        exact=proof.exact,
        cells=proof.cells,
        calls=proof.calls,
        events=proof.events,
        deltas=proof.deltas,
        differences_found=proof.differences_found,
        differences=[_without_values(one) for one in proof.first_differences(DIFFERENCES_STORED)],
    )


def _without_values(difference: Difference) -> str:
    """The difference as a sentence, without content of calls. Cells hold only counts."""
    if difference.cell is not None:
        return str(difference)
    of_call = f" {difference.call_id}" if difference.call_id is not None else ""
    fields = ", ".join(difference.expected)
    return f"{difference.kind}{of_call} of organization {difference.organization_id}: {fields}"


async def list_proofs(connection: Connection, limit: int) -> list[Record]:
    """The newest proofs, each with its state. Raises asyncpg's errors."""
    return await _LIST.fetch(connection, id=None, limit=limit, lost=LOST_SECONDS)


async def find_proof(connection: Connection, proof_id: UUID) -> Record | None:
    """One proof with its state; None if there is none. Raises asyncpg's errors."""
    return await _LIST.fetchrow(connection, id=proof_id, limit=1, lost=LOST_SECONDS)


_RUNNING: Final = """
finished_at IS NULL AND heartbeat_at > clock_timestamp() - make_interval(secs => :lost::float8)
"""

_RUNS: Final = Statement(f"SELECT EXISTS (SELECT FROM proofs WHERE {_RUNNING})")

_REMOVE: Final = Statement("""
DELETE FROM proofs WHERE id IN (SELECT id FROM proofs ORDER BY started_at DESC, id OFFSET :kept::integer)
""")

_BEGIN: Final = Statement("INSERT INTO proofs (id) VALUES (:id::uuid)")

_PROGRESS: Final = Statement("""
UPDATE proofs SET heartbeat_at = statement_timestamp(), calls_done = :done::bigint,
    calls_expected = :expected::bigint
WHERE id = :id::uuid
""")

_FINISH: Final = Statement("""
UPDATE proofs SET finished_at = statement_timestamp(), exact = :exact::boolean, cells = :cells::bigint,
    calls = :calls::bigint, events = :events::bigint, deltas = :deltas::bigint,
    differences_found = :differences_found::bigint, differences = :differences::text[]
WHERE id = :id::uuid
""")

_FAIL: Final = Statement("""
UPDATE proofs SET finished_at = statement_timestamp(), error = :error::text WHERE id = :id::uuid
""")

_LIST: Final = Statement(f"""
SELECT *,
    CASE WHEN error IS NOT NULL THEN 'failed' WHEN exact THEN 'exact'
        WHEN finished_at IS NOT NULL THEN 'not_exact' WHEN {_RUNNING} THEN 'running' ELSE 'lost' END AS state
FROM proofs WHERE :id::uuid IS NULL OR id = :id::uuid
ORDER BY started_at DESC, id LIMIT :limit::integer
""")
