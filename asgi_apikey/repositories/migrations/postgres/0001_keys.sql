-- PostgreSQL 14 or newer. Instants are microseconds since 1970, UTC, as in every other store.
-- COLLATE "C": text is ordered by its bytes, as SQLite and Python order it, so pages are the same everywhere; and an
-- upgrade of the operating system, which may change the order of a language, cannot corrupt an index.

CREATE TABLE api_keys (
    key_id        text COLLATE "C" PRIMARY KEY CHECK (key_id <> ''),
    digest        text COLLATE "C" NOT NULL CHECK (digest <> ''),
    version       bigint NOT NULL CHECK (version >= 1),
    owner         text COLLATE "C" NOT NULL,
    tenant        text COLLATE "C" NOT NULL,
    environment   text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    description   text COLLATE "C" NOT NULL,
    hint          text COLLATE "C" NOT NULL,
    scopes        text COLLATE "C" NOT NULL,
    created_at    bigint NOT NULL,
    created_by    text COLLATE "C" NOT NULL,
    not_before    bigint,
    expires_at    bigint,
    disabled_at   bigint,
    revoked_at    bigint,
    revoked_by    text COLLATE "C" NOT NULL,
    revoke_reason text COLLATE "C" NOT NULL,
    replaces      text COLLATE "C",
    last_used_at  bigint,
    uses          bigint NOT NULL CHECK (uses >= 0),
    metadata      text COLLATE "C" NOT NULL
);

-- A page is one range of one of these, already in order.
CREATE INDEX api_keys_by_age ON api_keys (created_at DESC, key_id);
CREATE INDEX api_keys_by_owner ON api_keys (owner, created_at DESC, key_id);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at DESC, key_id);

-- The last position of the feed: one row, which every change updates. A sequence would not do: it leaves gaps where a
-- change was rolled back, and gives positions in another order than the commits. The row's lock is held until the
-- commit, so even a writer who does not know of our advisory lock gets his positions in the order of commits.
CREATE TABLE api_key_feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    last_seq bigint NOT NULL
);

INSERT INTO api_key_feed (last_seq) VALUES (0);

CREATE FUNCTION api_key_next_seq() RETURNS bigint LANGUAGE sql VOLATILE
BEGIN ATOMIC UPDATE api_key_feed SET last_seq = last_seq + 1 RETURNING last_seq; END;

CREATE TABLE api_key_changes (
    seq        bigint PRIMARY KEY DEFAULT api_key_next_seq(),
    key_id     text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    changed_at bigint NOT NULL DEFAULT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)
);

CREATE INDEX api_key_changes_by_key ON api_key_changes (key_id, version);

CREATE TABLE api_key_meta (
    name  text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

INSERT INTO api_key_meta (name, value) VALUES ('schema_version', '0');

-- Tells this store from every other one, wherever its database is moved.
INSERT INTO api_key_meta (name, value) VALUES ('database_id', replace(gen_random_uuid()::text, '-', ''));

-- Who may hold cached verdicts. Beats are counted, not dated: nobody has to trust another machine's clock.
-- A lease is in microseconds; they may differ while a new configuration is rolled out.
CREATE TABLE api_key_workers (
    worker_id text COLLATE "C" PRIMARY KEY,
    bus       text COLLATE "C" NOT NULL,
    beat      bigint NOT NULL,
    lease     bigint NOT NULL
);
