"""Flink SQL: a GROUP BY call, a GROUP BY cell, and both as upserts through JDBC.

    python flink_sql.py BOOTSTRAP TOPIC PORT DATABASE STATE JARS

Checkpoints are exactly-once, in RocksDB, 2 s apart, and kept. A start resumes from the newest whole one, as
an operator does after a crash. JARS is a list of paths separated by colons."""

import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

BOOTSTRAP, TOPIC, PORT, DATABASE, STATE, JARS = sys.argv[1:]

EVENTS = f"""
CREATE TABLE events (
    type STRING, organization_id STRING, call_id STRING, `timestamp` STRING, livemode BOOLEAN,
    data ROW<status STRING, direction STRING, from_number STRING, to_number STRING, phone_number_id STRING,
        duration BIGINT, cost DOUBLE, latency_ms BIGINT, hangup_cause STRING, recording_url STRING>
) WITH (
    'connector' = 'kafka', 'topic' = '{TOPIC}', 'properties.bootstrap.servers' = '{BOOTSTRAP}',
    'properties.group.id' = 'counts', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
)
"""

# Statuses sort by their digit, so the highest one wins in any order.
FOLDED = """
CREATE TEMPORARY VIEW folded AS
SELECT call_id, MAX(organization_id) AS organization_id,
    MAX(CASE WHEN livemode THEN 1 ELSE 0 END) = 1 AS livemode,
    SUBSTRING(MIN(`timestamp`), 1, 10) AS `day`,
    SUBSTRING(MAX(CASE type
        WHEN 'call.ringing' THEN '1ringing'
        WHEN 'call.answered' THEN '2in_progress'
        WHEN 'call.completed' THEN '3completed'
        WHEN 'call.failed' THEN '3' || COALESCE(data.status, 'failed')
        ELSE '0initiated' END), 2) AS status,
    MAX(COALESCE(data.direction, '')) AS direction,
    MIN(`timestamp`) AS created_at,
    MAX(COALESCE(data.from_number, '')) AS from_number,
    MAX(COALESCE(data.to_number, '')) AS to_number,
    MAX(COALESCE(data.phone_number_id, '')) AS phone_number_id,
    MAX(COALESCE(data.duration, 0)) AS duration,
    MAX(COALESCE(data.cost, 0)) AS cost,
    MAX(COALESCE(data.latency_ms, 0)) AS latency_ms,
    MAX(COALESCE(data.hangup_cause, '')) AS hangup_cause,
    MAX(COALESCE(data.recording_url, '')) AS recording_url
FROM events GROUP BY call_id
"""

SINK = f"""WITH (
    'connector' = 'jdbc', 'username' = 'postgres', 'password' = '',
    'url' = 'jdbc:postgresql://127.0.0.1:{PORT}/{DATABASE}?reWriteBatchedInserts=true',
    'sink.buffer-flush.max-rows' = '2000', 'sink.buffer-flush.interval' = '1s', 'table-name' = """

CALLS = f"""
CREATE TABLE calls (
    call_id STRING, organization_id STRING, livemode BOOLEAN, `day` STRING, status STRING, direction STRING,
    created_at STRING, from_number STRING, to_number STRING, phone_number_id STRING, duration BIGINT,
    cost DOUBLE, latency_ms BIGINT, hangup_cause STRING, recording_url STRING,
    PRIMARY KEY (call_id) NOT ENFORCED
) {SINK} 'calls')
"""

COUNTS = f"""
CREATE TABLE daily_counts (
    organization_id STRING, livemode BOOLEAN, `day` STRING, status STRING, direction STRING, calls BIGINT,
    PRIMARY KEY (organization_id, livemode, `day`, status, direction) NOT ENFORCED
) {SINK} 'daily_counts')
"""

COUNT = """
INSERT INTO daily_counts
SELECT organization_id, livemode, `day`, status, direction, COUNT(*) FROM folded
GROUP BY organization_id, livemode, `day`, status, direction
"""


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that was completed last."""
    whole = [metadata.parent for metadata in folder.glob("*/chk-*/_metadata")]
    return max(whole, key=lambda checkpoint: checkpoint.stat().st_mtime, default=None)


def main() -> None:
    """Runs until it is stopped."""
    state = Path(STATE)
    settings = {
        "pipeline.jars": ";".join(Path(jar).as_uri() for jar in JARS.split(":")),
        "parallelism.default": "2",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.interval": "2 s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.dir": state.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        # The documentation's advice for aggregations.
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "1 s",
        "table.exec.mini-batch.size": "5000",
    }
    checkpoint = newest_checkpoint(state)
    if checkpoint is not None:
        settings["execution.state-recovery.path"] = checkpoint.as_uri()
    configuration = Configuration()
    for name, value in settings.items():
        configuration.set_string(name, value)
    environment = TableEnvironment.create(
        EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
    )
    for statement in (EVENTS, FOLDED, CALLS, COUNTS):
        environment.execute_sql(statement)
    statements = environment.create_statement_set()
    statements.add_insert_sql("INSERT INTO calls SELECT * FROM folded")
    statements.add_insert_sql(COUNT)
    statements.execute().wait()


if __name__ == "__main__":
    main()
