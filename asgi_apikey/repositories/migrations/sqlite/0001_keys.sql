-- Instants are microseconds since 1970, UTC. STRICT (SQLite 3.37): a column holds its own type or the write fails.

CREATE TABLE api_keys (
    key_id        TEXT PRIMARY KEY NOT NULL CHECK (key_id <> ''),
    digest        TEXT NOT NULL CHECK (digest <> ''),
    version       INTEGER NOT NULL CHECK (version >= 1),
    owner         TEXT NOT NULL,
    tenant        TEXT NOT NULL,
    environment   TEXT NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    hint          TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    created_by    TEXT NOT NULL,
    not_before    INTEGER,
    expires_at    INTEGER,
    disabled_at   INTEGER,
    revoked_at    INTEGER,
    revoked_by    TEXT NOT NULL,
    revoke_reason TEXT NOT NULL,
    replaces      TEXT,
    last_used_at  INTEGER,
    uses          INTEGER NOT NULL CHECK (uses >= 0),
    metadata      TEXT NOT NULL
) STRICT;

-- A page is one range of one of these, already in order.
CREATE INDEX api_keys_by_age ON api_keys (created_at DESC, key_id);
CREATE INDEX api_keys_by_owner ON api_keys (owner, created_at DESC, key_id);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at DESC, key_id);

-- The feed. AUTOINCREMENT: a position is never given twice, not even when the newest rows were removed.
CREATE TABLE api_key_changes (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id     TEXT NOT NULL,
    version    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000)
) STRICT;

CREATE INDEX api_key_changes_by_key ON api_key_changes (key_id, version);

CREATE TABLE api_key_meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

INSERT INTO api_key_meta (name, value) VALUES ('schema_version', '0');

-- Tells this store from every other one, wherever its file is moved.
INSERT INTO api_key_meta (name, value) VALUES ('database_id', lower(hex(randomblob(16))));

-- Who may hold cached verdicts. Beats are counted, not dated: nobody has to trust another machine's clock.
-- A lease is in microseconds; they may differ while a new configuration is rolled out.
CREATE TABLE api_key_workers (
    worker_id TEXT PRIMARY KEY NOT NULL,
    bus       TEXT NOT NULL,
    beat      INTEGER NOT NULL,
    lease     INTEGER NOT NULL
) STRICT;
