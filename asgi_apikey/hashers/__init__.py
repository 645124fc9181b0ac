"""Hashers: from a whole presented key to the digest that is stored, and back to yes or no.

| module | scheme | for |
|---|---|---|
| `hmac_sha256` | `hmac-sha256$…`, `sha256$…` | keys with 112 bits or more from a random source: the default |
| `argon2` | `$argon2id$…` | keys that people chose, or a policy that asks for a slow hash |
| `bcrypt` | `sha256+bcrypt$…` | the same, where bcrypt is the house rule |
| `suite` | those of its members | changing any of the above on a live system |

Import from the modules: each brings only the library it needs.
"""
