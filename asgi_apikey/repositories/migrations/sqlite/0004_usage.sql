-- Requests by key, hour (Unix seconds of its start) and outcome: 'accepted', or why not.

CREATE TABLE api_key_usage (
    key_id   TEXT NOT NULL,
    hour     INTEGER NOT NULL,
    outcome  TEXT NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (key_id, hour, outcome)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_usage_by_hour ON api_key_usage (hour);
