"""docs/reference/dialects: the systems that callfold reads, each on a page from its dialect."""

from collections.abc import Mapping
from textwrap import fill
from typing import Final

from services.ops.reference.markdown import page, table
from services.ops.sources.configuration import BASIC_CREDENTIALS, COMMON_SETTINGS
from shared.dialects.registry import DIALECTS
from shared.sources.dialect import Dialect, always

_OPENING: Final = """
# Dialects

*Generated from the dialects by `python -m services.ops.reference`.*

callfold reads these systems as they are. The steps for all of them are in
[Connect a telephony system](../how-to/connect-a-telephony-system.md). Each page has the command and the steps
at the vendor.
"""

_COMMON: Final = """
## Settings of every source
"""

_GENERATED: Final = "*Generated from the dialect by `python -m services.ops.reference`.*"
_SIGNED: Final = """\
Signatures cover the address that the system calls. `--url https://hooks.example.com` stands for the path of
the source at this host. If the system calls another path, give the whole address."""
_WAYS: Final = {"http": "webhooks", "kafka": "a Kafka topic"}
_MAPPED: Final[Mapping[bool, str]] = {
    True: "Each record names its organization by this field; its value is the organization's id.",
    False: "`--map` gives records to organizations by this field: `--map VALUE=ID`, once for each value. "
    "Another field can be named with `--map-by`. Records that lack the field belong to `--organization`, if "
    "it is given.",
}


def page_of_dialects() -> str:
    """The list of all dialects, in Markdown."""
    rows = [
        (
            f"[{one.title}](dialects/{one.name}.md)",
            f"`{one.name}`",
            " or ".join(_WAYS[way] for way in one.ways),
            f"`{one.organizations_by}`" if one.organizations_by else "the source",
        )
        for one in sorted(DIALECTS.values(), key=lambda one: one.title.lower())
    ]
    return page(
        _OPENING,
        table(("system", "dialect", "by", "organization by"), rows),
        _COMMON,
        table(("setting", "meaning"), [(f"`{one.name}`", one.meaning) for one in COMMON_SETTINGS]),
    )


def page_of_dialect(dialect: Dialect) -> str:
    """A dialect's page, in Markdown."""
    parts = [
        f"# {dialect.title}",
        _GENERATED,
        f"The dialect `{dialect.name}` reads {' or '.join(_WAYS[way] for way in dialect.ways)}.",
        "## The source",
        *(_command(dialect, way) for way in dialect.ways),
    ]
    if dialect.secrets:
        rows = [(f"`{one.name}`", _needed(one.required), one.meaning) for one in dialect.secrets]
        parts.append(table(("secret", "needed", "meaning"), rows))
    if dialect.one_of_secrets:
        names = ", ".join(f"`{name}`" for name in dialect.one_of_secrets)
        parts.append(f"For webhooks, one of {names} is needed.")
    if {one.name for one in dialect.secrets} >= set(BASIC_CREDENTIALS):
        parts.append("`username` and `password` work only together.")
    if dialect.signs_address is always:
        parts.append(_SIGNED)
    if dialect.settings:
        rows = [(f"`{one.name}`", _needed(one.required), one.meaning) for one in dialect.settings]
        parts.append(table(("setting", "needed", "meaning"), rows))
    if dialect.organizations_by is not None:
        parts += [
            "## Organizations",
            fill(f"The field is `{dialect.organizations_by}`. {_MAPPED[dialect.names_organization]}", 110),
        ]
    parts += ["## At the system", dialect.setup, "## What calls have", dialect.gives]
    parts += ["## What the system cannot give", dialect.lacks]
    if dialect.from_memory:
        parts += [
            "## Not confirmed",
            "No document of the vendor and no capture confirms the following. Compare it with your own\n"
            "deliveries, for example with `callfold source try`.",
            dialect.from_memory,
        ]
    return page(*(f"{part}\n" for part in parts))


def _command(dialect: Dialect, way: str) -> str:
    """The command that creates the source."""
    organization = (
        ["--organization ID"]
        if dialect.organizations_by is None
        else []
        if dialect.names_organization
        else ["--map VALUE=ID"]
    )
    secrets = [f"--secret {one.name}=@FILE" for one in dialect.secrets if one.required and way == "http"]
    settings = [f"--setting {one.name}=VALUE" for one in dialect.settings if one.required]
    place = ["--topic TOPIC"] if way == "kafka" else ["--url URL"]
    options = [f"--dialect {dialect.name}", *organization, *secrets, *settings, *place]
    return "\n".join(["    callfold source create NAME \\", "      " + " \\\n      ".join(options)])


def _needed(required: bool) -> str:
    return "yes" if required else "no"
