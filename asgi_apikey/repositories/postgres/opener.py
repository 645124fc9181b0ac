"""Opens connections to one store, and only to that one; makes it where there is none."""

from __future__ import annotations

import asyncio
import logging

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.driver import MIGRATE, MIGRATE_AFTER
from asgi_apikey.repositories.migrations import migrations, pending
from asgi_apikey.repositories.postgres.address import Address
from asgi_apikey.repositories.postgres.operation import Operation, Operations
from asgi_apikey.repositories.postgres.placeholders import Placeholders
from asgi_apikey.repositories.postgres.schema import Store, migrate, store_of
from asgi_apikey.repositories.postgres.session import Limits, Session, connect

_log = logging.getLogger("asgi_apikey")


class Opener:
    """The way to one store.

    Args:
        address: Where it is.
        deadline: Seconds for which to wait for a connection, and then for its answer.

    Attributes:
        limits: Which the server has for our sessions.
    """

    def __init__(self, address: Address, *, deadline: Seconds) -> None:
        self._address = address
        self._deadline = deadline
        self.limits = Limits.within(deadline)
        self._placeholders = Placeholders()
        self._steps = migrations("postgres")
        self._database_id: str | None = None
        self._behind = False
        self._migrations = Operations(MIGRATE)
        self._warned = False

    @property
    def may_migrate(self) -> bool:
        """Whether the last connection found no store, or an older one, and this object never saw another."""
        return self._behind and self._database_id is None

    async def connect(self) -> Session:
        """Open a session to the store that this object knows, or to the first one that it sees.

        Raises:
            StoreUnavailable: No answer in time, no key store there (yet), or another one than before.
            ConfigurationError: The URL or the database cannot be used, or the schema is newer than ours.
        """
        session = await connect(self._address, self._placeholders, limits=self.limits, deadline=self._deadline)
        timer = asyncio.get_running_loop().call_later(self._deadline, session.terminate)
        try:
            self._check(await store_of(session))
        except BaseException:
            session.terminate()
            raise
        finally:
            timer.cancel()
        return session

    async def migrate(self) -> None:
        """Make or migrate the store, over a connection of its own.

        Raises:
            StoreUnavailable: It could not be done, and nothing was; or, with `outcome_unknown`, perhaps it was.
            ConfigurationError: The schema is newer than ours.
        """

        async def work(operation: Operation) -> None:
            session = await connect(self._address, self._placeholders, limits=None, deadline=self._deadline)
            operation.session = session
            try:
                await migrate(session, self._steps, lock_timeout=MIGRATE_AFTER)
                await session.close(patience=self._deadline)
            finally:
                session.terminate()

        await self._migrations.run(work)

    def _check(self, store: Store) -> None:
        if self._database_id not in (None, store.database_id):
            self._refuse_foreign()
        self._behind = bool(pending(self._steps, store.version))
        if self._behind:
            raise StoreUnavailable(
                f"the database has key store schema {store.version}, {len(self._steps)} is needed: `asgi-apikey init`"
            )
        self._database_id = store.database_id

    def _refuse_foreign(self) -> None:
        if not self._warned:
            _log.error(
                "the PostgreSQL URL leads to another key store than the one that this process has used before",
                extra={"event": "other_store"},
            )
            self._warned = True
        raise StoreUnavailable(
            "the URL leads to another key store than before: put the right one back, or restart to use this one"
        )
