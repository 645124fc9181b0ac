-- How much a key may be used, and how much of it has been.

ALTER TABLE api_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '';

-- `subject`: 'key ' and a lineage, or 'owner ', a tenant, a line end and an owner. Instants are milliseconds since 1970;
-- from `until` on, a row says no more than no row does.
CREATE TABLE api_key_meters (
    subject TEXT NOT NULL,
    name    TEXT NOT NULL,
    mark    INTEGER NOT NULL,
    value   INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (subject, name)
) STRICT, WITHOUT ROWID;
