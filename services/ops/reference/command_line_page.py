"""docs/reference/cli.md: every command of `callfold`, from the definitions of the commands."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from textwrap import fill
from typing import Any, Final
from uuid import UUID

import typer
from typer.core import TyperGroup, TyperOption

from services.ops.main import command_app
from services.ops.reference.markdown import page, sentence, table, variables_as_code
from services.ops.terminal.options import JsonOption, StateOption

_OPENING: Final = """
# The command line

*Generated from the commands by `python -m services.ops.reference`.*

`callfold` is the operator's command line. `callfold COMMAND --help` prints the section of a command. From a
clone, call it as `./callfold`.

## Addresses

A command finds the database and Kafka in this order:

1. With `--state DIRECTORY`, it uses the embedded stack that `callfold up` created in this directory.
2. With `CALLFOLD_DATABASE_URL` and `CALLFOLD_KAFKA_BOOTSTRAP`, it uses these servers. The other
   [settings](settings.md) of PostgreSQL and Kafka apply as well. A command that needs both servers fails when
   only one variable is set.
3. Otherwise it uses the embedded stack in `.callfold/` of the working directory.

Without any of these, the command fails. `up`, `down`, `status` and `demo` only work on an embedded stack:
`--state` names its directory, and the default is `.callfold/`.

## Exit status

| status | when |
|---|---|
| 0 | The command succeeded. |
| 1 | The command failed. One sentence on standard error begins with `Error:` and gives the reason. |
| 2 | The command line is not valid: an unknown command or option, or a missing argument. |

Some commands also exit with 1 to report a result, such as differences that `verify` found. Their sections
list these results.
"""


def _help(option: Any) -> str:
    """The help text of an annotated option."""
    (described,) = option.__metadata__
    return str(described.help)


_SHARED_NAMES: Final = ("--state", "--json", "--help")
_SHARED_HELP: Final = {"--state": _help(StateOption), "--json": _help(JsonOption)}
"""The help of those that some commands describe in other words."""
_KINDS: Final = {UUID: "UUID", int: "whole number", float: "number"}
_HEAD: Final = ("argument or option", "value", "description")


def page_of_commands() -> str:
    """The page, in Markdown."""
    command = typer.main.get_command(command_app())
    root, *contexts = _walk(command.context_class(command, info_name="callfold", **command.context_settings))
    shared = _shared(contexts)
    return page(
        _OPENING,
        "## Shared options",
        "Most commands take these options. Each section names those of its command.",
        table(_HEAD, map(_row, shared.values())),
        "`callfold` itself takes these:",
        table(_HEAD, map(_row, _own(root, shared))),
        "## Commands",
        table(
            ("command", "what it does"),
            [(f"[`{_name(each)}`](#{_name(each).replace(' ', '-')})", _summary(each)) for each in contexts],
        ),
        *(part for context in contexts for part in _section(context, shared)),
    )


def _walk(context: Any) -> Iterator[Any]:
    """The context of a command and of all its subcommands, in the order of the help."""
    yield context
    if isinstance(context.command, TyperGroup):
        for name, command in context.command.commands.items():
            settings = command.context_settings
            yield from _walk(command.context_class(command, info_name=name, parent=context, **settings))


def _name(context: Any) -> str:
    """The full name of a command, such as `callfold org create`."""
    return " ".join(filter(None, [_name(context.parent) if context.parent else "", context.info_name]))


def _parameters(context: Any) -> list[Any]:
    return [parameter for parameter in context.command.get_params(context) if not parameter.hidden]


def _shared(contexts: Iterable[Any]) -> dict[str, Any]:
    """The options of `_SHARED_NAMES` by name, as a command has them with the shared help text."""
    parameters = [parameter for context in contexts for parameter in _parameters(context)]
    return {
        name: next(
            parameter
            for parameter in parameters
            if name in parameter.opts and parameter.help == _SHARED_HELP.get(name, parameter.help)
        )
        for name in _SHARED_NAMES
    }


def _own(context: Any, shared: Mapping[str, Any]) -> list[Any]:
    """The parameters that only this command describes."""
    return [parameter for parameter in _parameters(context) if not _is_shared(parameter, shared)]


def _is_shared(parameter: Any, shared: Mapping[str, Any]) -> bool:
    return any(name in shared and shared[name].help == parameter.help for name in parameter.opts)


def _section(context: Any, shared: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_name(context)}"
    yield f"```text\n{' '.join([_name(context), *context.command.collect_usage_pieces(context)])}\n```"
    yield from _paragraphs(context)
    if own := _own(context, shared):
        yield table(_HEAD, map(_row, own))
    taken = {option for each in _parameters(context) if _is_shared(each, shared) for option in each.opts}
    if also := [f"`{name}`" for name in _SHARED_NAMES if name in taken and name != "--help"]:
        yield f"Shared options: {', '.join(also)}."


def _paragraphs(context: Any) -> list[str]:
    """The paragraphs of a command's help."""
    text = inspect.cleandoc(context.command.help or "")
    return [
        fill(variables_as_code(paragraph), width=120, break_long_words=False, break_on_hyphens=False)
        for paragraph in text.split("\n\n")
    ]


def _summary(context: Any) -> str:
    """The first sentence of a command's help."""
    return re.split(r"(?<=\.)\s", _paragraphs(context)[0])[0]


def _row(parameter: Any) -> tuple[str, str, str]:
    required = ", required" if parameter.required else ""
    if isinstance(parameter, TyperOption):
        opts = sorted(parameter.opts, key=len, reverse=True)  # the order of the names of `--help` varies
        names = ", ".join(f"`{name}`" for name in (*opts, *parameter.secondary_opts))
        repeatable = ", repeatable" if parameter.multiple else ""
        return f"{names}{required}{repeatable}", _value(parameter), sentence(parameter.help or "")
    name = (parameter.metavar or parameter.name).strip("[].")
    several = ", any number" if parameter.nargs != 1 else ""
    return f"`{name}`{required}{several}", _kind(parameter), sentence(parameter.help or "")


def _value(option: Any) -> str:
    """The values that an option takes, in words, and its default."""
    if option.is_flag:
        return "flag"
    kind = _either(option.metavar) if option.metavar else _kind(option)
    return kind + _bounds(option.min, option.max) + _default(option)


def _either(metavar: str) -> str:
    """The alternatives that a metavar such as `all|N` names."""
    return " or ".join(f"`{part}`" for part in metavar.split("|"))


def _kind(parameter: Any) -> str:
    descriptor = parameter.type_descriptor
    if descriptor.is_choice:
        return ", ".join(f"`{choice}`" for choice in descriptor.choices)
    return _KINDS.get(descriptor.annotation, "text")


def _bounds(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f", from {least:,} to {most:,}"
    if most is not None:
        return f", at most {most:,}"
    return "" if least is None else f", at least {least:,}"


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return f"; default: {option.show_default}"
    if option.default in (None, "", []) or not option.show_default:
        return ""
    return f"; default: `{option.default}`"
