"""Looking into the parts that a configuration makes: does each answer, and does it fit the others."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.errors import APIKeyError, ConfigurationError, InvalidToken, Undecidable
from asgi_apikey.models import Seconds, Status
from asgi_apikey.policy import MANAGEMENT
from asgi_apikey.repositories.migrations import migrations
from asgi_apikey.service.findings import Finding, Level, of_memory, of_settings
from asgi_apikey.service.wiring import keys_of
from asgi_apikey.settings import PREFIX, Configuration

_LIBRARIES: Final = ("aiosqlite", "asyncpg", "redis", "PyJWT", "starlette", "msgspec", "uvicorn", "prometheus-client")
_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_MANAGERS: Final = tuple(f"{MANAGEMENT}{each}" for each in ("*", "read", "write", "revoke", "verify", "audit"))
_DIALECTS: Final = {"sqlite": "sqlite", "postgresql": "postgres", "postgres": "postgres"}
_NEWEST: Final = 100
_PING_WITHIN: Final[Seconds] = 2.0


async def diagnosed(configuration: Configuration, *, limit: int | None) -> tuple[Finding, ...]:
    """Return everything that can be found out about a configuration; nothing is changed by it.

    Args:
        configuration: What to look into.
        limit: Bytes of memory that there are.
    """
    findings = [*of_settings(configuration), *of_memory(configuration, limit), _libraries()]
    with _warnings_of_ours() as warned:
        try:
            keys = keys_of(configuration.keys)
        except ConfigurationError as error:
            return (*findings, Finding(Level.ERROR, "configuration", str(error)))
        findings += [Finding(Level.OK, "digests", f"made as {keys.hasher.decoy.partition('$')[0]}")]
        findings += [each async for each in _tokens(configuration)]
        try:
            findings += [each async for each in _store(keys, configuration)]
            findings += [each async for each in _redis(configuration)]
        finally:
            await keys.close()
    return (*findings, *(Finding(Level.WARNING, "log", each) for each in dict.fromkeys(warned)))


def memory_limit() -> int | None:
    """Return how many bytes this container, or else this machine, has; None where that is not told."""
    for path in map(Path, _LIMITS):
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        # cgroup v2 writes `max` for none, v1 a number beyond any machine.
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


async def _store(keys: APIKeys, configuration: Configuration) -> AsyncIterator[Finding]:
    """Look into the store, as a server of the same configuration would use it."""
    began = time.perf_counter()
    try:
        await keys.repository.open(create=False)
        anchor = await keys.repository.audit.anchor()
        count = await keys.count()
    except Undecidable as error:
        yield Finding(Level.UNAVAILABLE, "store", str(error))
        return
    except ConfigurationError as error:
        yield Finding(Level.ERROR, "store", str(error))
        return
    taken = (time.perf_counter() - began) * 1000
    told = f"reachable in {taken:.0f} ms: {_schema(configuration.keys.url)}{count:,} keys"
    yield Finding(Level.OK, "store", f"{told}, store {anchor.database_id}, change {anchor.position}")
    for each in _file(configuration.keys.url):
        yield each
    async for each in _digests(keys):
        yield each
    try:
        # What a worker does first: whether the bus can ever work.
        await keys.open()
        yield Finding(Level.OK, "bus", "nothing speaks against it")
    except ConfigurationError as error:
        yield Finding(Level.ERROR, "bus", str(error))
    if not configuration.service.accepts_tokens:
        yield await _managers(keys)


async def _digests(keys: APIKeys) -> AsyncIterator[Finding]:
    """Look whether keys can be compared at all: what a lost pepper refuses looks like a wrong key to everybody."""
    try:
        newest = (await keys.find(limit=_NEWEST, revoked=False)).records
    except APIKeyError as error:
        yield Finding(Level.UNAVAILABLE, "digests", str(error))
        return
    refused = sum(not keys.hasher.accepts(each.digest) for each in newest)
    if refused:
        yield Finding(
            Level.WARNING,
            "digests",
            f"{refused} of the {len(newest)} newest keys are refused: their digests were made under another pepper, or "
            f"by a hasher that is not in use; put the pepper of before in front of the new one in {PREFIX}PEPPER",
        )


def _schema(url: str) -> str:
    """Name the schema of a store that could be opened, which is the newest then; empty where there is none."""
    dialect = _DIALECTS.get(url.partition(":")[0].partition("+")[0])
    return "" if dialect is None else f"schema {migrations(dialect)[-1].number}, "


async def _managers(keys: APIKeys) -> Finding:
    try:
        managers = await keys.count(any_scopes=_MANAGERS, status=Status.ACTIVE)
    except APIKeyError as error:
        return Finding(Level.UNAVAILABLE, "managers", str(error))
    if managers:
        return Finding(Level.OK, "managers", f"{managers:,} keys may manage others")
    return Finding(
        Level.WARNING,
        "managers",
        "no key may manage others yet; make one: asgi-apikey issue --owner admin --scope 'apikeys:*'",
    )


def _file(url: str) -> Iterator[Finding]:
    """Look at the rights of an SQLite file."""
    scheme, _, path = url.partition(":///")
    if scheme.partition("+")[0] != "sqlite":
        return
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(Level.WARNING, "store", f"others on this machine can open {path} (mode {mode:o}): chmod 600")


async def _redis(configuration: Configuration) -> AsyncIterator[Finding]:
    if not configuration.keys.redis:
        return
    from asgi_apikey.caches.redis import RedisCache

    cache = RedisCache(configuration.keys.redis, namespace="asgi-apikey-doctor", timeout=_PING_WITHIN)
    began = time.perf_counter()
    try:
        await cache.put("ping", b"pong", 10.0)
        held = await cache.get("ping")
    finally:
        await cache.close()
    taken = (time.perf_counter() - began) * 1000
    if held is None:
        yield Finding(Level.UNAVAILABLE, "redis", "does not answer, or refuses us; keys are served without it")
    else:
        yield Finding(Level.OK, "redis", f"reachable in {taken:.0f} ms")


async def _tokens(configuration: Configuration) -> AsyncIterator[Finding]:
    if not configuration.service.accepts_tokens:
        yield Finding(Level.OK, "tokens", "not accepted; people manage keys with API keys")
        return
    try:
        from asgi_apikey.service.tokens import check_published, token_verifier

        token_verifier(configuration.service, environment=configuration.keys.environment)
    except ConfigurationError as error:
        yield Finding(Level.ERROR, "tokens", str(error))
        return
    if configuration.service.jwt_secret:
        yield Finding(Level.OK, "tokens", f"accepted, {configuration.service.algorithm} under a shared secret")
        return
    try:
        await check_published(configuration.service.jwks)
        yield Finding(Level.OK, "tokens", f"accepted, under the keys at {configuration.service.jwks}")
    except (OSError, ValueError, InvalidToken) as error:
        # By class: the error's text may quote the answer.
        told = f"the keys at {configuration.service.jwks} cannot be read: {type(error).__name__}"
        yield Finding(Level.UNAVAILABLE, "tokens", told)


def _libraries() -> Finding:
    installed = [f"{name} {found}" for name in ("asgi-apikey", *_LIBRARIES) if (found := _version(name))]
    return Finding(Level.OK, "libraries", ", ".join(installed))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@contextmanager
def _warnings_of_ours() -> Iterator[Sequence[str]]:
    """Collect what the package would write into a log."""
    collected: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            collected.append(record.getMessage())

    log, handler = logging.getLogger("asgi_apikey"), Collector(logging.WARNING)
    propagates, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield collected
    finally:
        log.removeHandler(handler)
        log.propagate = propagates
