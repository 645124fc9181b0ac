"""Proving a presented key before anything is done to the one whose id it carries."""

from __future__ import annotations

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.errors import ConfigurationError, UnknownKey, WrongSecret
from asgi_apikey.models import KeyRecord, Lane


async def proven_record(keys: APIKeys, presented: bytes) -> KeyRecord:
    """Return the record of a presented key, whatever its standing, once the secret has matched.

    Key ids are public: without the proof, anybody could have somebody else's key revoked by sending in a made-up
    "leaked key" that carries its id. The request path is not used, because looking at a key does not count as a use
    of it, and works in any environment.

    Raises:
        InvalidKey: Malformed, unknown, or another secret.
        ConfigurationError: The digest was made under a pepper, or a scheme, that is not configured here.
    """
    parsed = keys.parse(presented)
    record = await keys.repository.get(parsed.key_id)
    if record is None:
        raise UnknownKey(parsed.key_id)
    if not keys.hasher.accepts(record.digest):
        raise ConfigurationError(
            f"the digest of key {record.key_id} cannot be compared with these settings; "
            "set ASGI_APIKEY_PEPPER to the peppers that the server has"
        )
    # There are no strangers here whom the key would have to be protected from.
    if not await keys.hasher.verify(presented, record.digest, lane=Lane.PROVEN):
        raise WrongSecret(record.key_id)
    return record
