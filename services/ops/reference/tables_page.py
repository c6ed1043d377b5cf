"""docs/reference/tables.md: every table with its columns, from shared/database/tables.py."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import DefaultClause

from services.ops.reference.markdown import page, sentence, table
from shared.database.tables import metadata

_OPENING: Final = """
# Tables

*Generated from shared/database/tables.py by `python -m services.ops.reference`.*

`callfold migrate` creates these tables, and stores most of these descriptions as column comments. `psql`
shows them with `\\d+ calls`. Read the tables as the role `callfold_operator` or as the owner
([roles and rights](roles-and-rights.md)). Change them only with `callfold` commands: `callfold verify`
reports rows of calls and counts that were edited by hand.

The tables are not a stable interface: any release may change them.

For example, the last deletions and changes of an organization:

    SELECT at, actor, action, subject, details FROM audit_log
    WHERE organization_id = 'b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9a01' ORDER BY at DESC LIMIT 20;

And the newest quarantined records:

    SELECT quarantined_at, topic, "partition", "offset", reason FROM quarantined_records
    ORDER BY quarantined_at DESC LIMIT 20;
"""

DESCRIPTIONS: Final = {
    "organizations": "One row per organization (tenant).",
    "api_keys": "One row per API key, also for revoked keys.",
    "members": "The users who are members of an organization, for users' tokens.",
    "calls": "One row per call: the fold of its rows in `call_events`.",
    "call_events": "One row per stored event. A call's events are unique by `id`.",
    "deleted_calls": "The ids of deleted calls, whose later events are not stored. A deleted organization "
    "has one row.",
    "daily_call_counts": "The counts of each organization by mode, day, direction, phone number and status. "
    "A count is exact together with the rows of `daily_call_deltas` that are not yet applied.",
    "daily_call_totals": "The same counts, summed over all phone numbers.",
    "call_changes": "The outbox of the publisher: one row for each statement that changed calls, until "
    "they are published. A trigger on `calls` writes it, from the first start of a publisher.",
    "publisher": "One row with the state of publishing, from the first start of a publisher.",
    "webhooks": "Endpoints that get messages about changed calls.",
    "webhook_messages": "Messages to endpoints: one row for all webhooks that get the message. The "
    "publisher stores them, and webhooks removes them after `CALLFOLD_WEBHOOK_RETENTION_DAYS`.",
    "webhook_deliveries": "One message for one webhook, and the last attempt to send it.",
    "daily_call_deltas": "Changes of counts that the aggregator has not yet applied. It deletes each row "
    "that it applies.",
    "count_versions": "The version of each organization's counts. A process that applies deltas gives it a "
    "new one.",
    "count_days": "The version that last changed the counts of a day.",
    "pruned_call_counts": "The counts of calls that retention removed and that remain counted.",
    "audit_log": "Irreversible actions, and actions that change counts, with their actors.",
    "quarantined_records": "Records of the topic that cannot be stored as events.",
    "sources": "Telephony systems that deliver in their own form.",
    "source_calls": "The organization of a call, as a record of the source has named it. Records that cannot "
    "name it take it from here.",
    "phone_numbers": "The phone numbers of each organization.",
    "partitions_read": "How far ingest has read each partition. A partition without a row has not been read.",
    "silent_calls": "Calls without an event for `CALLFOLD_SILENCE_HOURS`, until ingest has read all records "
    "that were published before.",
    "proofs": "The newest 1,000 runs of `callfold verify --record`, with their progress and results.",
}
"""A description of each table."""

UNCOMMENTED: Final = {
    "proofs.id": "generated",
    "proofs.started_at": "when it started",
    "proofs.calls_done": "calls that it has proved so far",
    "proofs.cells": "proved cells; null: no result",
    "proofs.calls": "proved calls; null: no result",
    "proofs.events": "events of these calls; null: no result",
    "proofs.differences_found": "number of differences; null: no result",
    "organization_id": "the organization",
    "livemode": "true: live data; false: test data",
    "status": "as in the API",
    "direction": "as in the API; null: unknown",
    "organizations.id": "generated, or chosen at creation",
    "organizations.name": "not unique; empty if ingest created the organization",
    "organizations.created_at": "when the row was created",
    "api_keys.id": "the id by which `callfold key revoke` and the audit log name the key",
    "api_keys.name": "chosen at creation",
    "api_keys.created_at": "when the key was created",
    "api_keys.revoked_at": "null: not revoked",
    "members.user_id": "the `sub` of the user's tokens",
    "members.joined_at": "when the user was added",
    "calls.id": "the source's call id if it is a UUID, else derived from it",
    "calls.from_number": "the caller",
    "calls.to_number": "the callee",
    "calls.phone_number_id": "the organization's phone number",
    "calls.endpoint_id": "the endpoint",
    "calls.latency_ms": "milliseconds",
    "calls.hangup_cause": "why the call ended",
    "calls.recording_url": "the latest recording, as the event gave it",
    "calls.transcript": "the transcript",
    "calls.created_at": "when the call began",
    "calls.answered_at": "null: not answered, or unknown",
    "calls.completed_at": "null: not ended, or unknown",
    "call_events.call_id": "the call",
    "call_events.id": "the event's id",
    "call_events.type": "the event's type",
    "deleted_calls.call_id": "the deleted call",
    "deleted_calls.deleted_at": "when it was deleted",
    "day": "the day in the organization's time zone",
    "daily_call_deltas.id": "generated",
    "daily_call_deltas.written_at": "when the delta was written",
    "calls": "number of calls",
    "answered": "number of answered calls",
    "duration_seconds": "sum of the durations",
    "cost_cents": "sum of the costs",
    "latency_ms": "sum of the latencies",
    "audit_log.id": "generated",
    "audit_log.at": "when the transaction of the action began",
    "audit_log.action": "the action, such as `key revoked`",
    "audit_log.details": "further facts about the action",
    "quarantined_records.topic": "the record's topic",
    "quarantined_records.partition": "the record's partition",
    "quarantined_records.offset": "the record's offset",
    "quarantined_records.key": "the record's key, verbatim",
    "quarantined_records.value": "the record's value, verbatim; null after a delete or if it had none",
    "quarantined_records.header_names": "names of the record's headers, in their order",
    "quarantined_records.header_values": "values of these headers",
    "quarantined_records.reason": "the rule that the record breaks",
    "quarantined_records.quarantined_at": "when the record was first stored here",
    "partitions_read.topic": "the topic",
    "partitions_read.partition": "the number of the partition",
    "call_changes.id": "generated",
    "call_changes.written_at": "when the statement changed the calls",
    "publisher.singleton": "always true: there is one row",
    "publisher.all_after_call": "the call of that place",
    "webhooks.id": "generated",
    "webhooks.livemode": "true: calls of live data; false: of test data",
    "webhooks.url": "where messages are sent",
    "webhooks.description": "chosen by the client",
    "webhooks.enabled": "false: it gets no messages",
    "webhooks.created_at": "when it was created",
    "webhook_messages.type": "the type, such as call.completed",
    "webhook_messages.created_at": "when it was stored",
    "webhook_deliveries.id": "generated",
    "webhook_deliveries.webhook_id": "the webhook",
    "webhook_deliveries.message_id": "the message",
    "webhook_deliveries.created_at": "when it was stored",
    "webhook_deliveries.attempts": "how often it was sent",
    "silent_calls.call_id": "the call",
    "sources.id": "generated; a part of its address",
    "sources.name": "chosen at creation",
    "sources.dialect": "the system, as `callfold source dialects` lists it",
    "sources.settings": "its settings, as JSON",
    "sources.enabled": "false: the receiver and ingest take nothing from it",
    "sources.created_at": "when the row was created",
    "sources.changed_at": "when the row was last changed",
    "source_calls.source_id": "the source",
    "source_calls.seen_at": "when a record first named it",
    "phone_numbers.number": "the number as calls have it",
    "phone_numbers.created_at": "when it was added",
}
"""Descriptions of columns that have no comment in the database, by `table.column` or by the column's name."""

_COUNTS: Final = ("daily_call_counts", "daily_call_totals", "daily_call_deltas", "pruned_call_counts")
_EMPTY: Final = "''"
_MEASURES_TITLE: Final = "Measures"
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


def page_of_tables() -> str:
    """The page, in Markdown."""
    parts = [part for each in metadata.tables.values() for part in _section(each)]
    return page(_OPENING, *parts, *_measures_section())


def measures() -> list[Column[Any]]:
    """The columns of counts, which four tables have in common."""
    keys = {column.name for of in _COUNTS for column in metadata.tables[of].primary_key}
    in_all = set.intersection(*({column.name for column in metadata.tables[of].columns} for of in _COUNTS))
    return [column for column in metadata.tables[_COUNTS[0]].columns if column.name in in_all - keys]


def description(column: Column[Any]) -> str:
    """Raises KeyError for a column without a comment that `UNCOMMENTED` lacks."""
    return column.comment or UNCOMMENTED.get(str(column)) or UNCOMMENTED[column.name]


def _section(of: Table) -> Iterator[str]:
    common = {column.name for column in measures()} if of.name in _COUNTS else set()
    yield f"## {of.name}"
    yield DESCRIPTIONS[of.name]
    yield _columns(column for column in of.columns if column.name not in common)
    if common:
        yield f"It also has the [measures](#{_MEASURES_TITLE.lower()})."


def _measures_section() -> Iterator[str]:
    yield f"## {_MEASURES_TITLE}"
    yield (
        f"{', '.join(f'`{name}`' for name in _COUNTS[:-1])} and `{_COUNTS[-1]}` have these columns. A packed "
        "column is one number that holds a histogram or the values of the day's hours. The API unpacks it."
    )
    yield _columns(measures())


def _columns(columns: Iterable[Column[Any]]) -> str:
    return table(
        ("column", "type", "null", "default", "description"),
        [
            (
                f"`{column.name}`" + (" (key)" if column.primary_key else ""),
                f"`{column.type.compile(dialect=_DIALECT).lower()}`",
                "yes" if column.nullable else "no",
                _default(column),
                sentence(description(column)),
            )
            for column in columns
        ],
    )


def _default(column: Column[Any]) -> str:
    default = column.server_default
    if column.identity is not None:
        return "identity"
    if default is None:
        return ""
    if not isinstance(default, DefaultClause):
        raise TypeError(f"{column} has a default of an unknown kind: {default!r}")
    value = default.arg
    return f"`{value or _EMPTY}`" if isinstance(value, str) else f"`{value.compile(dialect=_DIALECT)}`"
