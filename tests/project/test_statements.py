"""Rules for statements, which keep a database possible that Citus distributes by organization."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType

import services
import shared
from shared.database.statement import Statement
from shared.migrations.places import BY_ORGANIZATION, OF_EACH_SERVER, ON_ONE_SERVER
from tests.support.repository import ROOT

OF_ONE_ORGANIZATION = re.compile(r"\borganization_id = (\$\d|:\w)")
LOCKS_ROWS = re.compile(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b")
SELECTS_NOTHING = re.compile(r"\(\s*SELECT FROM\b")

REFERENCE = "a table that each server has whole"
ONE_SERVER = "a table of one server"
NOT_DISTRIBUTED = "a table that is not distributed"
ON_SHARDS = "a distributed database gets it by the names of shards (`apply_on_node`)"

PLACES = [
    re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|USING)\s+({'|'.join(tables)})\b")
    for tables in (BY_ORGANIZATION, *ON_ONE_SERVER, OF_EACH_SERVER)
]
"""The uses of tables that are together. Those on each server are together with all."""

EXCEPTIONS: Mapping[str, str] = {
    "services.aggregator.apply_deltas.APPLY": ON_SHARDS,
    "services.aggregator.prune._STILL_KEPT": REFERENCE,
    "services.aggregator.quarantine_erasure._PRUNE_OF_NONE": REFERENCE,
    "services.ingest.redrive._LOCK": REFERENCE,
    "services.ops.admin.lag_routes._OUTBOX": NOT_DISTRIBUTED,
    "services.ops.admin.source_routes._SOURCES": REFERENCE,
    "services.ops.admin.webhook_routes._WEBHOOKS": ONE_SERVER,
    "services.ops.commands.key._FIND": REFERENCE,
    "services.ops.commands.publish._READ_AND_HOLD": NOT_DISTRIBUTED,
    "services.ops.pipeline_lag._TOPICS": REFERENCE,
    "services.ops.proof.recorded_proofs._RUNS": ONE_SERVER,
    "services.ops.sources.stored._FIND_TO_CHANGE": REFERENCE,
    "services.publisher.changed_calls._HOLD": NOT_DISTRIBUTED,
    "services.webhooks.upkeep._DISABLE_OVERDUE": ONE_SERVER,
    "services.webhooks.upkeep._REMOVE_OLD": ONE_SERVER,
    "shared.migrations.distribute.FUNCTIONS": "the trigger reads the outbox of its own server",
    "shared.store.read_progress._TOPICS_OF_SOURCES": REFERENCE,
    "shared.store.sources._FORGET_CALLS": ONE_SERVER,
    "shared.store.webhooks._NEXT_SECRETS": ONE_SERVER,
}
"""The statements that need not name one organization, each with the reason why Citus takes them."""

ADVISORY_LOCKS = {
    "shared/database/held_locks.py": "takes locks where they exclude all servers",
    "shared/migrations/alone.py": "tables are migrated at the coordinator alone",
    "shared/store/batch.py": "ingest shares the lock of days where it is; others hold it on each server",
    "shared/store/webhooks.py": "only keeps two requests from exceeding the limit of webhooks together",
}
"""The files that take advisory locks themselves, each with the reason."""

GENERIC_PLANS = {
    "shared/database/patient_connection.py": "asks Citus for plans with values instead",
    "services/api/database/databases.py": "not on a distributed database",
}
"""The files that force generic plans, each with the reason why Citus never gets them."""


def test_a_statement_that_locks_rows_names_one_organization() -> None:
    assert _breaches(LOCKS_ROWS) == []


def test_a_subquery_that_selects_nothing_names_one_organization() -> None:
    """Citus adds a list of columns to a subquery that it cannot pass on, and there is none."""
    assert _breaches(SELECTS_NOTHING) == []


def test_a_statement_uses_tables_of_one_place() -> None:
    """Citus passes some others on, and refuses them in other versions."""
    used = {name: [place for place in PLACES if place.search(sql)] for name, sql in _statements()}
    assert [name for name, places in used.items() if len(places) > 1] == []


def test_every_exception_is_needed() -> None:
    found = {name for name, sql in _statements() if LOCKS_ROWS.search(sql) or SELECTS_NOTHING.search(sql)}
    assert sorted(set(EXCEPTIONS) - found) == []


def test_only_the_helper_takes_advisory_locks() -> None:
    assert _files_with("pg_(try_)?advisory") == sorted(ADVISORY_LOCKS)


def test_generic_plans_are_not_forced_on_a_distributed_database() -> None:
    assert _files_with("force_generic_plan") == sorted(GENERIC_PLANS)


def _breaches(rule: re.Pattern[str]) -> list[str]:
    return sorted(
        name
        for name, sql in _statements()
        if rule.search(sql) and not OF_ONE_ORGANIZATION.search(sql) and name not in EXCEPTIONS
    )


def _files_with(text: str) -> list[str]:
    paths = [path for package in ("services", "shared") for path in (ROOT / package).rglob("*.py")]
    named = [(str(path.relative_to(ROOT)), path.read_text()) for path in paths]
    return sorted(
        name
        for name, source in named
        if re.search(text, source) and not name.startswith("shared/migrations/versions/")
    )


def _statements() -> Iterator[tuple[str, str]]:
    """The name and the SQL of each statement that is a constant of a module, in one module that has it."""
    there: set[str] = set()
    for module in _modules():
        for name, value in vars(module).items():
            for sql in set(_texts(value)) - there:
                there.add(sql)
                yield f"{module.__name__}.{name}", sql


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Statement):
        yield value.sql
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from _texts(one)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))


def _modules() -> Iterator[ModuleType]:
    for package in (services, shared):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith((".__main__", ".env")) and ".versions" not in found.name:
                yield importlib.import_module(found.name)
