-- Requests by key, hour (Unix seconds of its start) and outcome: 'accepted', or why not.

CREATE TABLE api_key_usage (
    key_id   text COLLATE "C" NOT NULL,
    hour     bigint NOT NULL,
    outcome  text COLLATE "C" NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (key_id, hour, outcome)
);

CREATE INDEX api_key_usage_by_hour ON api_key_usage (hour);
