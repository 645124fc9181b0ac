-- How much a key may be used, and how much of it has been.

ALTER TABLE api_keys ADD COLUMN limits text COLLATE "C" NOT NULL DEFAULT '';

-- `subject`: 'key ' and a lineage, or 'owner ', a tenant, a line end and an owner. Instants are milliseconds since 1970;
-- from `until` on, a row says no more than no row does. Room is left in each page, so that counting moves no row.
CREATE TABLE api_key_meters (
    subject text COLLATE "C" NOT NULL,
    name    text COLLATE "C" NOT NULL,
    mark    bigint NOT NULL,
    value   bigint NOT NULL,
    until   bigint NOT NULL,
    PRIMARY KEY (subject, name)
) WITH (fillfactor = 50);
