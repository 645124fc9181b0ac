"""Where records live: `memory`, and `sql` over one driver per database.

Importing this package imports no third-party library: each driver is a module of its own.
"""

from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.urls import open_repository

__all__ = ["MemoryRepository", "SQLRepository", "open_repository"]
