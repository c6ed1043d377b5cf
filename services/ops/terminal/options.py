"""Options and arguments that several commands share."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from services.ops.terminal.failure import Failure


def read_uuid(text: str, what: str) -> UUID:
    """A UUID as an operator types it. Raises Failure."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise Failure(
            f"{what} must be a UUID, such as 0b6cf1f4-6d2e-4a3b-9b3e-2f7c5a1d8e90, not {text!r}."
        ) from None


def organization_option(text: str) -> Any:
    """The option `--organization` with this help."""
    parser = partial(read_uuid, what="--organization")
    return typer.Option("--organization", metavar="UUID", help=text, parser=parser, show_default=False)


def uuid_argument(metavar: str, text: str, what: str) -> Any:
    """An argument of one UUID or several; `what` names it in the error about an invalid one."""
    parser = partial(read_uuid, what=what)
    return typer.Argument(metavar=metavar, help=text, parser=parser, show_default=False)


OrganizationOption = Annotated[UUID, organization_option("The organization's id.")]
OnlyOrganizationOption = Annotated[UUID | None, organization_option("Only this organization. Default: all.")]
OrganizationArgument = Annotated[UUID, uuid_argument("UUID", "The organization's id.", "The id")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIRECTORY",
        help="The state directory of an embedded stack (`callfold up`). Default: the servers that "
        "CALLFOLD_DATABASE_URL and CALLFOLD_KAFKA_BOOTSTRAP name, or the stack in .callfold/ without them.",
        show_default=False,
    ),
]
