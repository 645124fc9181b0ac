"""SQLite through aiosqlite: a store in one file, for every process of one machine."""

from asgi_apikey.repositories.sqlite.driver import SQLiteDriver

__all__ = ["SQLiteDriver"]
