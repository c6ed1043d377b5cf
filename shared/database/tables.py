"""The tables. The key of every tenant table begins with `organization_id`. This separates tenants, and lets a
distributed PostgreSQL shard the tables by that column."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, JSONB

from shared.api_keys import SCOPES

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

STATUSES = "('initiated', 'ringing', 'in_progress', 'completed', 'failed', 'busy', 'no_answer', 'canceled')"

_instant = DateTime(timezone=True)
_cents = Numeric(14, 4)
_now = func.now()
_never_toasted = {
    "toast_tuple_target": "8160"
}  # rows of counts stay uncompressed in their page: they are read by the thousand

organizations = Table(
    "organizations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column(
        "time_zone", Text, nullable=False, server_default="UTC", comment="IANA name; days are counted in it"
    ),
    Column("retention_days", Integer, comment="days that calls are kept; null: forever"),
    Column(
        "has_totals",
        Boolean,
        nullable=False,
        server_default=text("true"),
        comment="false until a rebuild for organizations older than daily_call_totals",
    ),
    Column("created_at", _instant, nullable=False, server_default=_now),
    Column("plan", Text, nullable=False, server_default="unlimited", comment="a plan of CALLFOLD_PLANS"),
    Column(
        "zone_rules",
        Text,
        comment="the time-zone rules that placed its calls; null: unknown",
    ),
    CheckConstraint("retention_days > 0", name="retention_days"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("livemode", Boolean, nullable=False),
    Column(
        "key_hash", LargeBinary, nullable=False, comment="SHA-256 of the key; the key itself is not stored"
    ),
    Column("hint", Text, nullable=False, comment="the first and last characters of the key"),
    Column("created_at", _instant, nullable=False, server_default=_now),
    Column("revoked_at", _instant),
    Column(
        "scopes",
        ARRAY(Text),
        nullable=False,
        server_default=f"{{{','.join(SCOPES)}}}",
        comment="what the key may do",
    ),
    Column("expires_at", _instant, comment="null: never"),
    Column("allowed_networks", ARRAY(CIDR), comment="networks that the key may be used from; null: any"),
    Column("last_used_at", _instant, comment="up to a minute late"),
    PrimaryKeyConstraint("organization_id", "id"),
    UniqueConstraint("key_hash"),
)

members = Table(
    "members",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("joined_at", _instant, nullable=False, server_default=_now),
    PrimaryKeyConstraint("organization_id", "user_id"),
    Index(None, "user_id", "joined_at"),
)

calls = Table(
    "calls",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("external_id", Text, comment="the source's call id, unless it is a UUID"),
    Column("livemode", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("direction", Text),
    Column("from_number", Text),
    Column("to_number", Text),
    Column("phone_number_id", Uuid),
    Column("endpoint_id", Uuid),
    Column("duration", Integer, comment="seconds"),
    Column("cost", _cents, comment="cents"),
    Column("latency_ms", Integer),
    Column("hangup_cause", Text),
    Column("recording_url", Text),
    Column("transcript", Text),
    Column("created_at", _instant, nullable=False),
    Column("answered_at", _instant),
    Column("completed_at", _instant),
    Column("day", Date, nullable=False, comment="the day of created_at in the organization's time zone"),
    Column(
        "hour",
        SmallInteger,
        comment="hours from the start of that day: 0 to 24; null: counted in no hour",
    ),
    Column("version", Integer, nullable=False, comment="number of events that the call is folded from"),
    Column(
        "revision",
        Integer,
        nullable=False,
        server_default="0",
        comment="raised by each rewrite of the row; a writer must have read the current one",
    ),
    Column(
        "laws",
        SmallInteger,
        nullable=False,
        server_default=text("1"),
        comment="version of the fold's laws that made this row",
    ),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("calls_newest_idx", "organization_id", "livemode", text("created_at DESC"), text("id DESC")),
    Index(
        "calls_newest_of_phone_number_idx",
        "organization_id",
        "livemode",
        "phone_number_id",
        text("created_at DESC"),
        text("id DESC"),
        postgresql_where=text("phone_number_id IS NOT NULL"),
    ),
    *(
        Index(
            f"calls_newest_of_{column.removesuffix('_id')}_idx",
            "organization_id",
            "livemode",
            column,
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"{column} IS NOT NULL"),
            postgresql_ops=operators,
        )
        for column, operators in (
            ("from_number", {"from_number": "text_pattern_ops"}),  # finds numbers by prefix
            ("to_number", {"to_number": "text_pattern_ops"}),
            ("endpoint_id", {}),
        )
    ),
    CheckConstraint(f"status IN {STATUSES}", name="status"),
    CheckConstraint("direction IN ('inbound', 'outbound')", name="direction"),
    postgresql_with={"fillfactor": "85"},  # room in the page for the next version of a row (HOT)
)

call_events = Table(
    "call_events",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("call_id", Uuid, nullable=False),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("occurred_at", _instant, nullable=False, comment="the event's own timestamp"),
    Column(
        "payload",
        Text,
        nullable=False,
        comment="the record's value without what other columns say; verbatim: "
        "callfold_payload(payload, type, organization_id, call_id)",
    ),
    Column(
        "notes",
        ARRAY(Text),
        comment="one sentence per field of the payload that was read differently or left out",
    ),
    PrimaryKeyConstraint("organization_id", "call_id", "id"),
    Index(
        "call_events_with_notes_idx",
        "organization_id",
        "call_id",
        "id",
        postgresql_where=text("notes IS NOT NULL"),
    ),
)

deleted_calls = Table(
    "deleted_calls",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("call_id", Uuid, nullable=False),
    Column("deleted_at", _instant, nullable=False, server_default=_now),
    PrimaryKeyConstraint("organization_id", "call_id"),
)


def _total_columns() -> list[Column[object]]:
    return [
        Column("organization_id", Uuid, nullable=False),
        Column("livemode", Boolean, nullable=False),
        Column("day", Date, nullable=False),
        Column("direction", Text, nullable=False, comment="'unknown' if the call has none"),
        Column("status", Text, nullable=False),
    ]


def _cell_columns() -> list[Column[object]]:
    number = Column("phone_number_id", Uuid, nullable=False, comment="the nil UUID if the call has none")
    return [*_total_columns(), number]


def _packed_column(name: str, comment: str) -> Column[object]:
    return Column(name, Numeric, nullable=False, server_default="0", comment=comment)


def _measure_columns() -> list[Column[object]]:
    return [
        Column("calls", BigInteger, nullable=False),
        Column("answered", BigInteger, nullable=False),
        Column("duration_seconds", BigInteger, nullable=False),
        Column("cost_cents", Numeric(22, 4), nullable=False),
        Column("latency_ms", BigInteger, nullable=False),
        Column("latency_calls", BigInteger, nullable=False, comment="calls with a latency"),
        Column(
            "effective",
            BigInteger,
            nullable=False,
            server_default="0",
            comment="calls that the network completed correctly (NER)",
        ),
        _packed_column("durations", "answered calls by seconds: a packed histogram"),
        _packed_column("answer_delays", "answered calls by milliseconds until the answer"),
        _packed_column("latencies", "calls with a latency, by milliseconds"),
        _packed_column("hangup_causes", "ended calls by cause, packed"),
        _packed_column("hour_calls", "calls by the hour of the day, packed like the following columns"),
        _packed_column("hour_answered", "answered calls"),
        _packed_column("hour_duration_seconds", "20 digits per hour"),
        _packed_column("hour_cost", "ten thousandths of a cent, 24 digits per hour"),
    ]


daily_call_counts = Table(
    "daily_call_counts",
    metadata,
    *_cell_columns(),
    *_measure_columns(),
    PrimaryKeyConstraint("organization_id", "livemode", "day", "direction", "phone_number_id", "status"),
    postgresql_with={"fillfactor": "70", **_never_toasted},
)

# Counts summed over all phone numbers, updated by the same deltas: a year is a few thousand rows.
daily_call_totals = Table(
    "daily_call_totals",
    metadata,
    *_total_columns(),
    *_measure_columns(),
    PrimaryKeyConstraint("organization_id", "livemode", "day", "direction", "status"),
    postgresql_with={"fillfactor": "70", **_never_toasted},
)

# Rows live only briefly. Without scale factors, autovacuum keeps up at any size.
daily_call_deltas = Table(
    "daily_call_deltas",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    *_cell_columns(),
    *_measure_columns(),
    Column("written_at", _instant, nullable=False, server_default=_now),
    PrimaryKeyConstraint("organization_id", "id"),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_insert_threshold": "-1",
        "autovacuum_analyze_scale_factor": "0",
        "autovacuum_analyze_threshold": "50000",
        "autovacuum_vacuum_cost_delay": "0",
        **_never_toasted,
        "autovacuum_vacuum_threshold": "1000",
    },
)

# The state of an organization's counts. A trigger on the deletion of deltas keeps both.
count_versions = Table(
    "count_versions",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("version", BigInteger, nullable=False, comment="increases whenever the counts change"),
    PrimaryKeyConstraint("organization_id"),
    postgresql_with={"fillfactor": "50"},
)

count_days = Table(
    "count_days",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("day", Date, nullable=False),
    Column("version", BigInteger, nullable=False, comment="the version that changed the day last"),
    PrimaryKeyConstraint("organization_id", "livemode", "day"),
    postgresql_with={"fillfactor": "50"},
)

# The outbox: the calls that a statement changed. A trigger on `calls` writes it once a publisher exists.
call_changes = Table(
    "call_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("organization_ids", ARRAY(Uuid), nullable=False, comment="of the changed calls"),
    Column("call_ids", ARRAY(Uuid), nullable=False, comment="in the same order"),
    Column("written_at", _instant, nullable=False, server_default=func.clock_timestamp()),
    Column("revisions_before", ARRAY(Integer), comment="before the change; null: the calls are new"),
    Column(
        "marks_before",
        ARRAY(SmallInteger),
        comment="number of the status, +16 live, +32 answered, +64 recording, +128 transcript",
    ),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_insert_threshold": "-1",
        "autovacuum_vacuum_cost_delay": "0",
        "autovacuum_vacuum_threshold": "1000",
    },
)

# One row, from the first start of a publisher on.
publisher = Table(
    "publisher",
    metadata,
    Column("singleton", Boolean, nullable=False, server_default=text("true")),
    Column("leader", Uuid, comment="the process that publishes; null: none"),
    Column("leads_until", _instant, comment="unless it renews its lease"),
    Column(
        "complete_from",
        BigInteger,
        comment="the transaction from which on the outbox has every change; null: not yet known",
    ),
    Column(
        "all_after_organization",
        Uuid,
        comment="how far the present state of all calls was published; null: it is not being published",
    ),
    Column("all_after_call", Uuid),
    PrimaryKeyConstraint("singleton"),
    CheckConstraint("singleton", name="singleton"),
)

# The endpoints that get messages about changed calls.
webhooks = Table(
    "webhooks",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("types", ARRAY(Text), nullable=False, comment="of messages that it gets; empty: all"),
    Column("secrets", LargeBinary, nullable=False, comment="encrypted JSON (Fernet)"),
    Column(
        "previous_secret_until",
        _instant,
        comment="messages have a second signature by the previous secret before this time",
    ),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_reason", Text, comment="why callfold disabled it; null: a client did"),
    Column("failing_since", _instant, comment="the first failure after the last success; null: none"),
    Column("created_at", _instant, nullable=False, server_default=_now),
    Column("sender", Uuid, comment="the process that sends to it; null: none"),
    Column("sends_until", _instant, comment="unless it renews its lease"),
    PrimaryKeyConstraint("organization_id", "id"),
    postgresql_with={"fillfactor": "50"},
)

# Messages to endpoints: one row for all webhooks that get the message.
webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("id", Text, nullable=False, comment="derived from the call, its revision and the type"),
    Column("type", Text, nullable=False),
    Column("call_id", Uuid, comment="null: a test"),
    Column("body", LargeBinary, nullable=False, comment="JSON, as it is sent"),
    Column("created_at", _instant, nullable=False, server_default=_now),
    PrimaryKeyConstraint("organization_id", "id"),
    Index(None, "organization_id", "call_id", postgresql_where=text("call_id IS NOT NULL")),
    Index(None, "created_at"),
)

# One message for one webhook, and its last attempt.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("webhook_id", Uuid, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("created_at", _instant, nullable=False, server_default=_now),
    Column(
        "due_at",
        _instant,
        server_default=_now,
        comment="when it is sent next; null: it was delivered or given up",
    ),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("attempted_at", _instant, comment="the last attempt"),
    Column("delivered_at", _instant, comment="null: not delivered"),
    Column("answer_status", SmallInteger, comment="of the last attempt; null: no answer"),
    Column("answer_body", Text, comment="of the last attempt, its first 1 KiB"),
    Column("error", Text, comment="why the last attempt failed; null: it did not"),
    PrimaryKeyConstraint("organization_id", "id"),
    ForeignKeyConstraint(
        ["organization_id", "webhook_id"], ["webhooks.organization_id", "webhooks.id"], ondelete="CASCADE"
    ),
    ForeignKeyConstraint(
        ["organization_id", "message_id"],
        ["webhook_messages.organization_id", "webhook_messages.id"],
        ondelete="CASCADE",
    ),
    UniqueConstraint("organization_id", "message_id", "webhook_id"),
    Index(
        "webhook_deliveries_due_idx",
        "organization_id",
        "webhook_id",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index(None, "organization_id", "webhook_id", "id"),
    postgresql_with={"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"},
)

# Counts of pruned calls, which remain counted. Deltas never change this table.
pruned_call_counts = Table(
    "pruned_call_counts",
    metadata,
    *_cell_columns(),
    *_measure_columns(),
    PrimaryKeyConstraint("organization_id", "livemode", "day", "direction", "phone_number_id", "status"),
    postgresql_with=_never_toasted,
)

# Irreversible actions, and actions that change counts, with their actors.
audit_log = Table(
    "audit_log",
    metadata,
    Column("organization_id", Uuid, nullable=False, comment="the nil UUID if there is no organization"),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("at", _instant, nullable=False, server_default=_now),
    Column("actor", Text, nullable=False, comment="the id of an API key, an operator, or a service"),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="the id of the row that the action changed"),
    Column("details", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("organization_id", "id"),
    Index(None, "organization_id", "at"),
)

quarantined_records = Table(
    "quarantined_records",
    metadata,
    Column(
        "id", Uuid, primary_key=True, comment="derived from the record, so that redelivery adds no second row"
    ),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("produced_at", _instant, comment="the record's own timestamp"),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("header_names", ARRAY(Text), nullable=False),
    Column("header_values", ARRAY(LargeBinary), nullable=False),
    Column("reason", Text, nullable=False),
    Column("quarantined_at", _instant, nullable=False, server_default=_now),
    Column("organization_id", Uuid, comment="the organization that the record names, if any"),
    Column(
        "call_id",
        Uuid,
        comment="the call that the record names, if any; the nil UUID for several calls",
    ),
    Column(
        "retained_from",
        _instant,
        comment="start of its retention; null: written by an older version whose call is not yet read",
    ),
    Column("source_id", Uuid, comment="the source of a delivery; null: not a delivery"),
    Column(
        "waits_for",
        Text,
        comment="the call's id in the source, while another delivery must name its organization",
    ),
    Index(None, "quarantined_at"),
    Index(
        "quarantined_records_waiting_idx",
        "source_id",
        "waits_for",
        postgresql_where=text("waits_for IS NOT NULL"),
    ),
    Index("quarantined_records_retained_from_idx", "organization_id", "retained_from"),
    Index(
        "quarantined_records_of_call_idx",
        "organization_id",
        "call_id",
        postgresql_where=text("organization_id IS NOT NULL"),
    ),
)

# Telephony systems that deliver in their own form.
sources = Table(
    "sources",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("dialect", Text, nullable=False),
    Column("serves", Uuid, comment="the organization of records that name none; null: none"),
    Column(
        "organizations",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="the organization's id by each value that records name",
    ),
    Column("organizations_by", Text, comment="the field of that value; null: the dialect's"),
    Column("secrets", LargeBinary, comment="encrypted JSON (Fernet); null: no secrets"),
    Column("settings", JSONB, nullable=False, server_default="{}"),
    Column("url", Text, comment="the public address that the system calls"),
    Column("topic", Text, unique=True, comment="the Kafka topic of its records; null: it calls by HTTP"),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("created_at", _instant, nullable=False, server_default=_now),
    Column("changed_at", _instant, nullable=False, server_default=_now),
)

# The organization of a call, as a record of the source has named it, for the records that cannot name it.
source_calls = Table(
    "source_calls",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("source_id", Uuid, nullable=False),
    Column("call_id", Text, nullable=False, comment="the call's id in the source"),
    Column("seen_at", _instant, nullable=False, server_default=_now),
    PrimaryKeyConstraint("organization_id", "call_id", "source_id"),
    Index("source_calls_call_idx", "source_id", "call_id"),
    Index(None, "seen_at"),
)

# An organization's own numbers.
phone_numbers = Table(
    "phone_numbers",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("number", Text, nullable=False),
    Column("phone_number_id", Uuid, nullable=False, comment="the id that its calls get"),
    Column("created_at", _instant, nullable=False, server_default=_now),
    PrimaryKeyConstraint("organization_id", "number"),
)

# How far ingest has read the topic. A partition without a row has not been read.
partitions_read = Table(
    "partitions_read",
    metadata,
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("partitions", Integer, nullable=False, comment="number of partitions of the topic"),
    Column(
        "read_until",
        _instant,
        nullable=False,
        comment="every record published before this moment is stored",
    ),
    PrimaryKeyConstraint("topic", "partition"),
)

# Long-silent calls, until ingest has read all records published before they were found silent.
silent_calls = Table(
    "silent_calls",
    metadata,
    Column("organization_id", Uuid, nullable=False),
    Column("call_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False, comment="the call's version at that moment"),
    Column(
        "seen_at",
        _instant,
        nullable=False,
        comment="first moment at which the call was silent at this version",
    ),
    PrimaryKeyConstraint("organization_id", "call_id"),
)

# The newest runs of `callfold verify --record`.
proofs = Table(
    "proofs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("started_at", _instant, nullable=False, server_default=func.clock_timestamp()),
    Column(
        "heartbeat_at",
        _instant,
        nullable=False,
        server_default=func.clock_timestamp(),
        comment="when its process last stored its progress",
    ),
    Column("finished_at", _instant, comment="null: it runs, or its process was killed"),
    Column("calls_done", BigInteger, nullable=False, server_default="0"),
    Column("calls_expected", BigInteger, comment="approximately; null: unknown"),
    Column("exact", Boolean, comment="null: no result"),
    Column("cells", BigInteger),
    Column("calls", BigInteger),
    Column("events", BigInteger),
    Column("deltas", BigInteger, comment="waiting in its snapshot"),
    Column("differences_found", BigInteger),
    Column(
        "differences",
        ARRAY(Text),
        nullable=False,
        server_default="{}",
        comment="the first ones as sentences, without content of calls",
    ),
    Column("error", Text, comment="why it failed; null: it did not"),
    Index(None, "started_at"),
)
