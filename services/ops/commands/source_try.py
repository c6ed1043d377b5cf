"""`callfold source try`: shows what callfold makes of a system's records, without storing anything."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import typer

from services.ops.sources.attempt import Attempt, attempt, calls_of, placed_json
from services.ops.sources.configuration import dialect_named, read_mapping, read_settings
from services.ops.sources.sample import Sample, SampleError, sample_of, scenario_of
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import organization_option
from services.ops.terminal.printing import print_json
from shared.calls.event import number
from shared.dialects.registry import DIALECTS
from shared.sources.delivery import Delivery
from shared.sources.envelopes import BODY_BYTES_MAX, FORM, NOT_JSON
from shared.sources.source import Source

_decode = msgspec.json.Decoder(float_hook=number).decode
SOURCE_ID: Final = UUID(int=1)
"""The source of a bare body. It also stands for its organization, where none is given."""


def try_(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Files to read; - is standard input.", show_default=False),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="The files are samples: a source and one delivery each.")
    ] = False,
    scenario: Annotated[
        bool, typer.Option("--scenario", help="The files are scenarios: all deliveries of a call each.")
    ] = False,
    dialect: Annotated[
        str | None,
        typer.Option(
            "--dialect", metavar="D", help="The files are bodies of this dialect.", show_default=False
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            metavar="NAME=VALUE",
            help="With --dialect: a setting of the source. Repeatable.",
            show_default=False,
        ),
    ] = None,
    organization_id: Annotated[
        UUID | None, organization_option("With --dialect: the organization of the source.")
    ] = None,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="VALUE=ID",
            help="With --dialect: give records that name VALUE to the organization ID. Repeatable.",
            show_default=False,
        ),
    ] = None,
    shuffle: Annotated[
        int | None,
        typer.Option(
            metavar="SEED",
            help="With --scenario: deliver in a random order. Default: the file's order.",
            show_default=False,
        ),
    ] = None,
    twice: Annotated[
        bool, typer.Option("--twice", help="With --scenario: deliver everything twice.")
    ] = False,
) -> None:
    """Show what callfold makes of a system's records, as one line of JSON per file. Nothing is stored.

    A sample is verified and translated. A scenario is also folded: the line has the calls. With --dialect,
    each file is the body of one request or record, without a signature. Without --organization and --map,
    its events have no organization.

    Exit status: 0 when all files could be read, with any outcome of their deliveries; 1 otherwise.
    """
    chosen = [name for name, given in (("--sample", sample), ("--scenario", scenario)) if given]
    if len(chosen) + (dialect is not None) != 1:
        raise Failure("Choose one of --sample, --scenario and --dialect.")
    _check_options(
        ("--scenario", scenario, {"--shuffle": shuffle is not None, "--twice": twice}),
        (
            "--dialect",
            dialect is not None,
            {"--setting": setting, "--organization": organization_id, "--map": mapped},
        ),
    )
    if not files:
        raise Failure("Name at least one FILE, or - for standard input.")
    if dialect is not None:
        known = dialect_named(dialect)
        organizations = read_mapping(mapped)
        is_open = organization_id is None and not organizations and not known.names_organization
        source = Source(
            id=SOURCE_ID,
            name="try",
            dialect=known.name,
            organization=SOURCE_ID if is_open else organization_id,
            organizations=organizations,
            settings=read_settings(setting, known),
        )
        for file in files:
            print_json({"file": file, **_made(_attempt_of_body(source, _content(file)))})
        return
    for file in files:
        content = _json(file)
        try:
            if scenario:
                print_json({"file": file, "calls": _calls(scenario_of(content), shuffle, twice=twice)})
            else:
                print_json({"file": file, **_made(attempt(_known(sample_of(content), file)))})
        except SampleError as error:
            raise Failure(f"{file}: {error}") from None


def _made(made: Attempt) -> dict[str, Any]:
    quarantined = [{"element": fault.element, "reason": fault.reason} for fault in made.quarantined]
    return {
        "outcome": made.outcome,
        "events": [
            placed_json(placed if placed.organization != SOURCE_ID else placed._replace(organization=None))
            for placed in made.events
        ],
        "reason": made.reason,
        "response": made.response,
        **({"quarantined_elements": quarantined} if quarantined and made.outcome == "events" else {}),
    }


def _calls(samples: Sequence[Sample], shuffle: int | None, *, twice: bool) -> Sequence[Any]:
    for one in samples:
        _known(one, "the scenario")
    fed = [*samples, *samples] if twice else list(samples)
    if shuffle is not None:
        Random(shuffle).shuffle(fed)  # noqa: S311 (an order, not a secret)
    calls = []
    for call in calls_of(fed):
        named = {"call_id": call.external_id or str(call.id), "organization": call.organization_id}
        calls.append(named | {field: getattr(call, field) for field in call.__struct_fields__})
    return sorted(calls, key=lambda fields: (fields["created_at"], fields["call_id"]))


def _known(sample: Sample, file: str) -> Sample:
    if sample.source.dialect not in DIALECTS:
        raise Failure(f"{file}: there is no dialect {sample.source.dialect!r}.")
    return sample


def _check_options(*of: tuple[str, bool, Mapping[str, object]]) -> None:
    """Refuses options without the option that they belong to."""
    for owner, is_given, options in of:
        for option, given in options.items():
            if given and not is_given:
                raise Failure(f"{option} needs {owner}.")


def _attempt_of_body(source: Source, body: bytes) -> Attempt:
    """The attempt of a body alone. A body that is no JSON but has an equals sign is a form."""
    now = datetime.now(UTC)
    dialect = DIALECTS[source.dialect]
    if "http" not in dialect.ways:
        return attempt(Sample(source, Delivery(body, now)), verify=False)
    is_form = b"=" in body and body.lstrip()[:1] not in (b"{", b"[", b'"')
    headers = {"content-type": FORM if is_form else "application/json"}
    made = attempt(Sample(source, Delivery(body, now, headers, "POST", "/")), verify=False)
    if made.reason is None or is_form or not made.reason.startswith(NOT_JSON):
        return made
    form = "a form, such as NAME=VALUE&NAME=VALUE"
    return replace(made, reason=f"The body is neither {form}, nor JSON: {made.reason.partition(': ')[2]}")


def _content(file: str) -> bytes:
    try:
        content = sys.stdin.buffer.read(BODY_BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.") from None
    if len(content) > BODY_BYTES_MAX:
        raise Failure(f"{file} has more than {BODY_BYTES_MAX:,} bytes.")
    return content


def _json(file: str) -> Any:
    try:
        content = _decode(_content(file))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise Failure(f"{file} is not a JSON object.")
    return content
