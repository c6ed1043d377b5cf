"""Options and arguments of several commands."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from services.ops.terminal.failure import Failure


def read_uuid(text: str, what: str) -> UUID:
    """Parses a UUID, as an operator types it. Raises Failure."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise Failure(
            f"{what} must be a UUID, such as 0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90, not {text!r}."
        ) from None


def organization_option(text: str) -> Any:
    """The option `--organization` with this help text."""
    parser = partial(read_uuid, what="--organization")
    return typer.Option("--organization", metavar="UUID", help=text, parser=parser, show_default=False)


def uuid_argument(metavar: str, text: str, what: str) -> Any:
    """An argument of one or several UUIDs. `what` names it in the error for an invalid UUID."""
    parser = partial(read_uuid, what=what)
    return typer.Argument(metavar=metavar, help=text, parser=parser, show_default=False)


OrganizationOption = Annotated[UUID, organization_option("The id of the organization.")]
OnlyOrganizationOption = Annotated[UUID | None, organization_option("Only this organization. Default: all.")]
OrganizationArgument = Annotated[UUID, uuid_argument("UUID", "The id of the organization.", "The id")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIRECTORY",
        help="The state directory of an embedded stack (`callfold up`). Default: the servers in "
        "CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP. If these are not set: the stack in .callfold/.",
        show_default=False,
    ),
]
