"""SQL is composed of constants and only at import, so no external value can become part of it. This replaces
ruff's S608, which refuses statements of constants like all others.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.repository import ROOT

MODULES = sorted(
    path
    for package in ("services", "shared")
    for path in (ROOT / package).rglob("*.py")
    if "versions" not in path.parts
)
"""All but the migration steps, which never change."""

has_sql = re.compile(r"\b(SELECT|INSERT INTO|DELETE FROM|UPDATE \w|SET \w+ =|VALUES)").search

Function = ast.FunctionDef | ast.AsyncFunctionDef


def composes_sql(node: ast.AST) -> bool:
    """Whether it contains composed SQL: by an f-string, by `+`, `%` or `format`."""
    for part in ast.walk(node):
        match part:
            case ast.JoinedStr() if any(isinstance(value, ast.FormattedValue) for value in part.values):
                pieces: list[ast.AST] = list(part.values)
            case ast.BinOp(op=ast.Add() | ast.Mod()):
                pieces = [part.left, part.right]
            case ast.Call(func=ast.Attribute(value=ast.Constant() as text, attr="format")):
                pieces = [text]
            case _:
                continue
        if any(
            isinstance(one, ast.Constant) and isinstance(one.value, str) and has_sql(one.value)
            for one in pieces
        ):
            return True
    return False


def functions_of(module: ast.Module) -> list[Function]:
    return [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def composed_while_it_runs(source: str, composers: frozenset[str] = frozenset()) -> Iterator[str]:
    """The functions of a module that compose SQL whenever they are called. A function called only by the
    module itself, or by another such function, is called at import. `composers` are such functions of other
    modules."""
    functions = functions_of(ast.parse(source))
    at_import = {each.name for each in functions if composes_sql(each)} | composers
    for each in functions:
        if composes_sql(each):
            if isinstance(each, ast.AsyncFunctionDef):
                yield each.name
        elif any(isinstance(part, ast.Name) and part.id in at_import for part in ast.walk(each)):
            yield each.name


def test_no_statement_is_composed_while_a_function_runs() -> None:
    sources = {path.relative_to(ROOT): path.read_text() for path in MODULES}
    composers = {
        ".".join(path.with_suffix("").parts): {
            each.name for each in functions_of(ast.parse(source)) if composes_sql(each)
        }
        for path, source in sources.items()
    }
    for path, source in sources.items():
        imported = {
            name.asname or name.name
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ImportFrom)
            for name in node.names
            if name.name in composers.get(node.module or "", ())
        }
        assert list(composed_while_it_runs(source, frozenset(imported))) == [], path


@pytest.mark.parametrize(
    "source",
    [
        'async def rows(connection, name):\n    return await connection.fetch(f"SELECT * FROM {name}")',
        'async def rows(connection, name):\n    return await connection.fetch("DELETE FROM " + name)',
        'def sql(name):\n    return f"SELECT {name}"\n\ndef rows(connection, name):\n    return sql(name)',
        'def sql(name):\n    return "SELECT {}".format(name)\n\nasync def rows(name):\n    return sql(name)',
    ],
)
def test_a_statement_that_is_composed_for_a_request_is_found(source: str) -> None:
    assert list(composed_while_it_runs(source)) == ["rows"]


AT_IMPORT = """
def sql(order):
    return f"SELECT * FROM calls ORDER BY created_at {order}"

ROWS = {order: sql(order) for order in ("ASC", "DESC")}

async def rows(connection, order):
    return await connection.fetch(ROWS[order], f"no SQL {order}")
"""


def test_a_statement_that_is_composed_at_import_is_fine() -> None:
    assert list(composed_while_it_runs(AT_IMPORT)) == []
