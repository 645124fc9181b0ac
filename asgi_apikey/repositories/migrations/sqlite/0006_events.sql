-- Messages that no endpoint has taken, until somebody has them sent again or drops them.

CREATE TABLE api_key_dead_letters (
    number    INTEGER PRIMARY KEY NOT NULL CHECK (number >= 1),
    letter_id TEXT NOT NULL UNIQUE,
    endpoint  TEXT NOT NULL,
    event     TEXT NOT NULL,
    body      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    reason    TEXT NOT NULL
) STRICT;

-- What was told once and is not told again, by key: that it expires soon.
CREATE TABLE api_key_notices (
    key_id TEXT NOT NULL,
    notice TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (key_id, notice)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_notices_by_age ON api_key_notices (at);
