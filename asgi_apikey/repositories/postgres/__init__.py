"""PostgreSQL 14 or newer through asyncpg: a store for many hosts."""

from asgi_apikey.repositories.postgres.driver import PostgresDriver

__all__ = ["PostgresDriver"]
