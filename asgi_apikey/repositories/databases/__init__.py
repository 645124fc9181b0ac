"""The application's own `databases.Database`, on SQLite (aiosqlite) or PostgreSQL (asyncpg), as the place of keys."""

from asgi_apikey.repositories.databases.driver import DatabasesDriver, keys_in

__all__ = ["DatabasesDriver", "keys_in"]
