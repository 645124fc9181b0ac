-- Messages that no endpoint has taken, until somebody has them sent again or drops them.

CREATE TABLE api_key_dead_letters (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter_id text COLLATE "C" NOT NULL UNIQUE,
    endpoint  text COLLATE "C" NOT NULL,
    event     text COLLATE "C" NOT NULL,
    body      text COLLATE "C" NOT NULL,
    at        bigint NOT NULL,
    attempts  bigint NOT NULL,
    reason    text COLLATE "C" NOT NULL
);

-- What was told once and is not told again, by key: that it expires soon.
CREATE TABLE api_key_notices (
    key_id text COLLATE "C" NOT NULL,
    notice text COLLATE "C" NOT NULL,
    at     bigint NOT NULL,
    PRIMARY KEY (key_id, notice)
);

CREATE INDEX api_key_notices_by_age ON api_key_notices (at);
