"""`callfold verify --topic`: proves that the topic of calls has the calls."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import typer

from services.ops.addresses import database, find_both, kafka_faults, require_organization
from services.ops.proof.topic_proof import UNDECIDED_MAX, TopicProof, TopicQuestion, prove_topic
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.printing import console, counted, print_json
from services.ops.terminal.program import suggestion
from services.ops.terminal.progress_bar import progress
from shared.settings.kafka import KafkaSettings

WAIT_SECONDS: Final = 60
PRINTED_MAX: Final = 25


def verify_topic(
    state: Path | None, organization_id: UUID | None, wait_seconds: float, *, as_json: bool
) -> None:
    """Proves the topic and prints the result. Raises Failure if no answer is possible, and Exit unless the
    topic has the calls."""
    proof = asyncio.run(_prove(state, organization_id, wait_seconds, quiet=as_json))
    if as_json:
        print_json(_as_wire(proof))
    else:
        _print(proof, wait_seconds, state)
    if not proof.equal:
        raise typer.Exit(1)


def _as_wire(proof: TopicProof) -> dict[str, object]:
    return {
        "equal": proof.equal,
        "snapshot": proof.snapshot,
        "topic": proof.topic,
        "records": proof.records,
        "calls": proof.calls,
        "undecided": proof.undecided,
        "differences_found": proof.differences_found,
        "differences": proof.differences,
    }


def _print(proof: TopicProof, wait_seconds: float, state: Path | None) -> None:
    to = console()
    to.print(f"Snapshot of {proof.snapshot:%Y-%m-%d %H:%M:%S} UTC, topic {proof.topic}:", markup=False)
    sign = "≠" if proof.differences_found else "="
    to.print(f"  {proof.calls:>12,} calls {sign} newest of {counted(proof.records, 'record')}")
    if proof.equal:
        to.print("EQUAL: the topic has every call in its present state, and no other.", style="bold green")
    if proof.differences_found:
        _print_differences(proof, state)
    if proof.undecided:
        _print_undecided(proof, wait_seconds, state)


def _print_undecided(proof: TopicProof, wait_seconds: float, state: Path | None) -> None:
    calls = counted(proof.undecided, "call")
    reason = f"after {wait_seconds:g} s, {calls} still waited in the outbox, or had changed again"
    if proof.undecided > UNDECIDED_MAX:
        reason = f"{calls} wait in the outbox, more than {UNDECIDED_MAX:,}"
    console().print(
        f"CANNOT TELL: {reason}. {suggestion('publish', state=state)} shows whether a publisher runs.",
        style="bold yellow",
        soft_wrap=True,
    )


def _print_differences(proof: TopicProof, state: Path | None) -> None:
    to = console()
    to.print(f"NOT EQUAL: {counted(proof.differences_found, 'difference')}.", style="bold red")
    for difference in proof.differences[:PRINTED_MAX]:
        to.print(f"  {difference}", markup=False, soft_wrap=True)
    more = proof.differences_found - PRINTED_MAX
    if more > 0:
        kept = len(proof.differences)
        listed = f"all {kept:,}" if kept == proof.differences_found else f"the first {kept:,}"
        to.print(f"  … and {more:,} more: --json lists {listed}.")
    publish = suggestion("publish", "--all", state=state)
    advice = (
        f"{publish} publishes these calls again."
        if proof.is_mended_by_publishing
        else f"Publishing again does not remove records. Delete the topic, create it with "
        f"{suggestion('topic', state=state)}, and run {publish}."
    )
    to.print(advice, markup=False, soft_wrap=True)


async def _prove(
    state: Path | None, organization_id: UUID | None, wait_seconds: float, *, quiet: bool
) -> TopicProof:
    place, kafka = find_both(state)
    topic = settings_from_environment(KafkaSettings).calls_topic
    async with database(place) as connection:
        if organization_id is not None:
            await require_organization(connection, organization_id, state)
        with progress("records", None, quiet=quiet) as bar:

            def read(what: str, done: int, expected: int | None) -> None:
                bar.expect(what, expected)
                bar.advance(done)

            question = TopicQuestion(topic, organization_id, wait_seconds)
            return await prove_topic(connection, kafka.broker, partial(kafka_faults, kafka), question, read)
