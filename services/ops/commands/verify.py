"""`callfold verify`: proves that every count and every call is exact; with --topic, the topic of calls."""

import asyncio
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.ops.addresses import database, find_database, require_organization
from services.ops.commands.verify_topic import WAIT_SECONDS, verify_topic
from services.ops.proof.proof import Progress, Proof, prove_connection
from services.ops.proof.recorded_proofs import ProofRuns, begin_proof, run_recorded
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, OnlyOrganizationOption, StateOption
from services.ops.terminal.printing import console, counted, print_json
from services.ops.terminal.progress_bar import progress
from shared.calls.zones import RULES_VERSION

DIFFERENCES_PRINTED: Final = 25
ORGANIZATIONS_PRINTED: Final = 10
RECORD_SECONDS: Final = 30
"""How long a statement that stores the progress may take."""


def verify(
    organization_id: OnlyOrganizationOption = None,
    calls: Annotated[
        str,
        typer.Option(
            "--calls",
            metavar="all|N",
            help="The calls to prove: all, or about N chosen at random. Every count is proved either way. "
            "Only all also finds events without a call.",
        ),
    ] = "all",
    topic: Annotated[
        bool,
        typer.Option(
            "--topic",
            help="Prove instead that CALLFOLD_CALLS_TOPIC has every call in its present state, and no other.",
        ),
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="With --topic: how long changes that are being published may take, in seconds.",
            show_default=str(WAIT_SECONDS),
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Store the progress and the result in the table proofs, which the admin API shows.",
        ),
    ] = False,
    record_as: Annotated[
        UUID | None,
        typer.Option(
            "--record-as",
            metavar="ID",
            hidden=True,
            help="Like --record, in the row with this id, which the admin API has stored.",
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that counts and calls are exact, on a live system.

    One snapshot proves everything. Every count, with its waiting deltas, must equal a recount of the calls.
    Every call must equal the fold of its stored events, field by field. A deleted call must have left no
    data. Each difference is listed. Nothing is locked and nothing is changed.

    On a database that Citus distributes, each organization is proved in one snapshot, and different
    organizations in several. --topic needs one PostgreSQL.

    Calls that an older version folded are counted separately: they are not wrong, and not proved until
    `callfold refold` has folded them again.

    Calls that other time-zone rules placed on another day or hour are not differences, because every count
    agrees with them. They are listed separately, and `refold` places them by the rules in use.

    With --record, the row keeps no content of calls: of a difference in a call, it names the fields. Only
    one recorded proof runs at a time.

    With --topic, the newest record of each key must be the call, byte for byte and with its headers. A change
    on its way is not a difference. The command needs the primary. From 200,000 records on, it needs 100
    bytes per record in the temporary directory.

    Exit status: 0 when everything is proved; 1 otherwise, also when --topic cannot tell.
    """
    # Millions of short-lived objects and no cycles: frequent collections would find nothing.
    gc.set_threshold(100_000, 50, 100)
    sample = _read_calls(calls)
    if topic and sample is not None:
        raise Failure("--calls cannot be combined with --topic, which compares all calls.")
    if wait is not None and not topic:
        raise Failure("--wait needs --topic: without it, nothing is waited for.")
    recorded = record or record_as is not None
    if recorded and (topic or sample is not None or organization_id is not None):
        raise Failure("--record needs a whole proof: leave out --topic, --calls and --organization.")
    if topic:
        verify_topic(state, organization_id, WAIT_SECONDS if wait is None else wait, as_json=as_json)
        return
    if recorded:
        proof = asyncio.run(_prove_recorded(state, record_as, quiet=as_json))
    else:
        proof = asyncio.run(_prove(state, organization_id, sample, quiet=as_json))
    if as_json:
        print_json(as_wire(proof))
    else:
        print_proof(proof)
    if not proof.exact:
        raise typer.Exit(1)


def as_wire(proof: Proof) -> dict[str, object]:
    """The proof as JSON for scripts."""
    return {
        "exact": proof.exact,
        "sampled": proof.sampled,
        "snapshot": proof.snapshot,
        "snapshots": proof.snapshots,
        "cells": proof.cells,
        "calls": proof.calls,
        "events": proof.events,
        "deltas": proof.deltas,
        "tombstones": proof.tombstones,
        "folded_by_older_laws": proof.folded_by_older_laws,
        "differences_found": proof.differences_found,
        "differences": proof.differences,
        "time_zone_rules": RULES_VERSION,
        "placed_by_other_rules": sum(proof.placed_by_other_rules.values()),
        "organizations_placed_by_other_rules": sorted(proof.placed_by_other_rules),
    }


def print_proof(proof: Proof, scope: str = "") -> None:
    """Prints the proof for people: the numbers compared, the differences and the verdict."""
    to = console()
    snapshot = "Snapshot of" if proof.snapshots == 1 else f"{proof.snapshots:,} snapshots from"
    to.print(f"{snapshot} {proof.snapshot:%Y-%m-%d %H:%M:%S} UTC{scope}:")
    deltas = counted(proof.deltas, "waiting delta")
    kinds = {difference.kind for difference in proof.differences}
    # Differences of cells come last: of more than are kept, those of cells may be the ones left out.
    cells = "≠" if "cell" in kinds or proof.differences_found > len(proof.differences) else "="
    calls = "≠" if kinds - {"cell"} else "="
    to.print(f"  {_right(proof.cells, 'cell')}: counts + {deltas} {cells} recount of the calls")
    rules = f"days by time-zone rules {RULES_VERSION}"
    to.print(f"  {_right(proof.calls, 'call')}: call {calls} fold of its events, {rules}")
    to.print(f"  {_right(proof.events, 'event')}")
    to.print(f"  {_right(proof.tombstones, 'deleted call')}: no data left")
    if proof.exact:
        of_calls = "each call of the sample" if proof.sampled else "every call"
        how = "" if proof.snapshots == 1 else ", of each organization in one snapshot"
        to.print(f"EXACT: every count and {of_calls} is proved{how}.", style="bold green")
        return
    if proof.folded_by_older_laws:
        calls = counted(proof.folded_by_older_laws, "call")
        to.print(
            f"REFOLD: an older version of callfold folded {calls}. No count is wrong. `callfold refold` "
            "folds these calls by the current laws.",
            style="bold yellow",
            soft_wrap=True,
        )
    if proof.placed_by_other_rules:
        _print_other_rules(proof.placed_by_other_rules)
    if not proof.differences_found:
        return
    to.print(f"NOT EXACT: {counted(proof.differences_found, 'difference')}.", style="bold red")
    for difference in proof.first_differences(DIFFERENCES_PRINTED):
        to.print(f"  {difference}", markup=False, soft_wrap=True)
    more = proof.differences_found - DIFFERENCES_PRINTED
    if more > 0:
        kept = len(proof.differences)
        listed = f"all {kept:,}" if kept == proof.differences_found else f"the first {kept:,}"
        to.print(f"  … and {more:,} more: --json lists {listed}.")


def _print_other_rules(placed: Mapping[UUID, int]) -> None:
    calls = counted(sum(placed.values()), "call")
    of = counted(len(placed), "organization")
    console().print(
        f"REFOLD: other time-zone rules than {RULES_VERSION} placed {calls} of {of}. No count is wrong; "
        "`callfold refold` moves these calls, with their counts, to their days by the current rules.",
        style="bold yellow",
        soft_wrap=True,
    )
    for organization_id, calls_placed in sorted(placed.items())[:ORGANIZATIONS_PRINTED]:
        console().print(f"  organization {organization_id}: {counted(calls_placed, 'call')}", markup=False)
    if len(placed) > ORGANIZATIONS_PRINTED:
        console().print(f"  … and {len(placed) - ORGANIZATIONS_PRINTED:,} more: --json lists all.")


def _right(count: int, one: str) -> str:
    """A count with its noun, the numbers right-aligned."""
    number, _, name = counted(count, one).partition(" ")
    return f"{number:>12} {name}"


def _read_calls(text: str) -> int | None:
    """The number of calls to fold; None for all. Raises Failure."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise Failure(f"--calls must be all, or a number of calls from 1, not {text!r}.")
    return int(text)


async def _prove(
    state: Path | None, organization_id: UUID | None, sample_calls: int | None, *, quiet: bool
) -> Proof:
    async with database(find_database(state)) as connection:
        if organization_id is not None and not await connection.fetchval(_HAS_CALLS, organization_id):
            await require_organization(connection, organization_id, state)
        with progress("counts", None, quiet=quiet) as bar:

            def proved(calls: int, expected: int | None) -> None:
                bar.expect("calls", expected)
                bar.advance(calls)

            return await prove_connection(connection, organization_id, proved, sample_calls=sample_calls)


async def _prove_recorded(state: Path | None, proof_id: UUID | None, *, quiet: bool) -> Proof:
    place = find_database(state)
    async with database(place, RECORD_SECONDS) as record, database(place) as connection:
        if proof_id is None:
            try:
                proof_id = await begin_proof(record)
            except ProofRuns:
                raise Failure("Another recorded proof is running: wait for its end.") from None
        with progress("counts", None, quiet=quiet) as bar:

            async def prove(store: Progress) -> Proof:
                def proved(calls: int, expected: int | None) -> None:
                    bar.expect("calls", expected)
                    bar.advance(calls)
                    store(calls, expected)

                return await prove_connection(connection, None, proved)

            return await run_recorded(record, proof_id, prove)


_HAS_CALLS: Final = "SELECT EXISTS (SELECT 1 FROM calls WHERE organization_id = $1)"
