CREATE TABLE calls (
    call_id text PRIMARY KEY,
    organization_id text NOT NULL,
    livemode boolean NOT NULL,
    day text NOT NULL,
    status text NOT NULL,
    direction text NOT NULL,
    created_at text NOT NULL,
    from_number text NOT NULL,
    to_number text NOT NULL,
    phone_number_id text NOT NULL,
    duration bigint NOT NULL,
    cost double precision NOT NULL,
    latency_ms bigint NOT NULL,
    hangup_cause text NOT NULL,
    recording_url text NOT NULL
);
CREATE TABLE daily_counts (
    organization_id text,
    livemode boolean,
    day text,
    status text,
    direction text,
    calls bigint NOT NULL,
    PRIMARY KEY (organization_id, livemode, day, status, direction)
);
