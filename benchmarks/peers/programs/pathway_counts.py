"""Pathway: a reduction by call, a reduction by cell, and snapshots of both in PostgreSQL.

    python pathway_counts.py BOOTSTRAP TOPIC PORT DATABASE STATE

State persists in a folder, with Pathway's defaults: inputs, at each commit, every 1.5 s."""

import sys

import pathway as pw

BOOTSTRAP, TOPIC, PORT, DATABASE, STATE = sys.argv[1:]
# The documentation asks for a limit where a backlog waits, and calls tens of thousands reasonable.
READ_AT_ONCE = 20_000
DATA = {
    "status": str,
    "direction": str,
    "from_number": str,
    "to_number": str,
    "phone_number_id": str,
    "hangup_cause": str,
    "recording_url": str,
    "duration": int,
    "cost": float,
    "latency_ms": int,
}
EMPTY = {str: "", int: 0, float: 0.0}


def main() -> None:
    """Runs until it is stopped."""
    columns = {
        name: pw.column_definition(dtype=str) for name in ("type", "organization_id", "call_id", "timestamp")
    }
    columns["livemode"] = pw.column_definition(dtype=bool)
    for name, dtype in DATA.items():
        columns[name] = pw.column_definition(dtype=dtype, default_value=EMPTY[dtype])
    events = pw.io.kafka.read(
        {"bootstrap.servers": BOOTSTRAP, "group.id": "counts", "auto.offset.reset": "earliest"},
        TOPIC,
        format="json",
        schema=pw.schema_builder(columns, name="Event"),
        json_field_paths={name: f"/data/{name}" for name in DATA},
        name="events",
        max_backlog_size=READ_AT_ONCE,
    )
    # Statuses sort by their digit, so the highest one wins in any order.
    ranked = events.select(pw.this.call_id, ranked=ranked_status(pw.this.type, pw.this.status))
    events = events + ranked.select(pw.this.ranked)
    folded = events.groupby(pw.this.call_id).reduce(
        pw.this.call_id,
        organization_id=pw.reducers.max(pw.this.organization_id),
        livemode=pw.reducers.any(pw.this.livemode),
        ranked=pw.reducers.max(pw.this.ranked),
        created_at=pw.reducers.min(pw.this.timestamp),
        **{name: pw.reducers.max(pw.this[name]) for name in DATA if name != "status"},
    )
    calls = folded.select(
        *pw.this.without(pw.this.ranked),
        status=pw.this.ranked.str.slice(1, 40),
        day=pw.this.created_at.str.slice(0, 10),
    )
    cell = (calls.organization_id, calls.livemode, calls.day, calls.status, calls.direction)
    counts = calls.groupby(*cell).reduce(*cell, calls=pw.reducers.count())
    write(calls, "calls", [calls.call_id])
    write(counts, "daily_counts", [counts[column.name] for column in cell])
    backend = pw.persistence.Backend.filesystem(STATE)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE, persistence_config=pw.persistence.Config(backend))


def ranked_status(type_: pw.ColumnExpression, given: pw.ColumnExpression) -> pw.ColumnExpression:
    """The status that an event claims, behind the digit of its rank."""
    of_failure = pw.if_else(given == "", "3failed", "3" + given)
    expression = pw.if_else(type_ == "call.failed", of_failure, "0initiated")
    for name, ranked in (
        ("call.completed", "3completed"),
        ("call.answered", "2in_progress"),
        ("call.ringing", "1ringing"),
    ):
        expression = pw.if_else(type_ == name, ranked, expression)
    return expression


def write(table: pw.Table, name: str, key: list[pw.ColumnReference]) -> None:
    """Keeps a table of PostgreSQL equal to this one."""
    pw.io.postgres.write(
        table,
        {"host": "127.0.0.1", "port": PORT, "dbname": DATABASE, "user": "postgres"},
        name,
        output_table_type="snapshot",
        primary_key=key,
    )


if __name__ == "__main__":
    main()
