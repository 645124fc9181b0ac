"""The processes of the service: uvicorn, its workers and its end."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import uvicorn

from asgi_apikey import logs
from asgi_apikey.apikeys import APIKeys
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.census import SAMPLE, counted
from asgi_apikey.errors import ConfigurationError, MissingExtra, StoreUnavailable
from asgi_apikey.service.application import API, application
from asgi_apikey.service.wiring import keys_of, redactor_of
from asgi_apikey.settings import PREFIX, Configuration, Given, Sources, read_configuration

_log = logging.getLogger("asgi_apikey")

_STOP_WITHIN: Final = 10
"""Seconds that requests have to end after SIGTERM; a revoke may wait 2.1 s for others."""

_SOURCES: Final = PREFIX + "SOURCES"
"""How a process tells its workers, which are made by an import, where to read their configuration."""

_EMBEDDED: Final = ("sqlite", "memory")


def serve(sources: Sources, *, reload: bool = False) -> None:
    """Serve until a signal ends it: requests are finished, usage is written, the worker is deregistered.

    Args:
        sources: Of the configuration. With `reload` or several workers there are other processes, which read it anew.
        reload: Start anew when a Python file below the working directory changes; for development.

    Raises:
        ConfigurationError: Something is configured that cannot be, or is not safe.
        MissingExtra: A library is not installed.
    """
    configuration = read_configuration(_without(os.environ), sources)
    settings = configuration.service
    keys, app = wired(configuration)
    anyio.run(_prepare, keys, _may_migrate(configuration))
    if settings.metrics_port is not None:
        _serve_metrics(keys, settings.metrics_port)
    several = reload or settings.workers > 1
    if several:
        os.environ[_SOURCES] = _written(sources)
    _log.info("serving %s on http://%s:%d", API, settings.host, settings.port, extra={"event": "serving"})
    uvicorn.run(
        "asgi_apikey.service.server:worker" if several else app,
        factory=several,
        host=settings.host,
        port=settings.port,
        workers=None if reload else settings.workers,
        reload=reload,
        lifespan="on",
        # Ours, or uvicorn would set up its own, and log every address with its query.
        log_config=None,
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        timeout_graceful_shutdown=_STOP_WITHIN,
    )


def worker() -> ASGIApp:
    """Return the application of one of several workers, as the environment of its process has it."""
    return wired(read_configuration(_without(os.environ), _read(os.environ[_SOURCES])))[1]


def wired(configuration: Configuration) -> tuple[APIKeys, ASGIApp]:
    """Return the keys and the application, with the logs of this process set up for them.

    Raises:
        ConfigurationError: Something is configured that cannot be, or is not safe.
        MissingExtra: A library is not installed.
    """
    keys, settings = keys_of(configuration.keys), configuration.service
    redact = redactor_of(configuration, keys)
    logs.configure(level=settings.log_level, layout=settings.log_format, redact=redact)
    for each in configuration.notes:
        _log.warning("%s", each, extra={"event": "configuration_note"})
    return keys, application(keys, settings, environment=configuration.keys.environment)


def _written(sources: Sources) -> str:
    """Return the sources as text, for another process."""
    return json.dumps(
        {
            "env_files": [str(each.absolute()) for each in sources.env_files],
            "config": None if sources.config is None else str(sources.config.absolute()),
            "overrides": {name: [each.text, each.place] for name, each in sources.overrides.items()},
        }
    )


def _read(text: str) -> Sources:
    told = json.loads(text)
    return Sources(
        env_files=tuple(map(Path, told["env_files"])),
        config=None if told["config"] is None else Path(told["config"]),
        overrides={name: Given(*each) for name, each in told["overrides"].items()},
    )


def _without(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environ.items() if name != _SOURCES}


async def _prepare(keys: APIKeys, may_migrate: bool) -> None:
    """Make the store, where that is wanted, before any worker looks for it; warn where it is not there.

    Raises:
        ConfigurationError: The store is there, and cannot be used by this version; or keys in it need a pepper or a
            scheme that was dropped.
    """
    try:
        await keys.repository.open(create=may_migrate)
        await _check_peppers(keys)
    except StoreUnavailable as error:
        _log.warning(
            "starting without the key store, requests are answered 503 until it is there: %s",
            error,
            extra={"event": "starting_without_store"},
        )
    finally:
        with suppress(StoreUnavailable):
            await keys.close()


async def _check_peppers(keys: APIKeys) -> None:
    """Refuse to lock out keys by a pepper, or a scheme, that was taken out of the configuration too early."""
    async for census in counted(keys.repository.archive, keys.hasher, now=time.time(), most=SAMPLE):
        if census.stranded:
            needed = ", ".join(map(str, sorted(each for each in census.refused if census.usable[each])))
            raise ConfigurationError(
                f"keys in the store need {needed}, which this configuration does not give; give it back, or revoke "
                "these keys: `asgi-apikey rehash --status` counts them"
            )


def _may_migrate(configuration: Configuration) -> bool:
    """Whether the service may change the schema: of a file of its own, or where it was told to."""
    if configuration.service.migrate is not None:
        return configuration.service.migrate
    return configuration.keys.url.partition(":")[0].partition("+")[0] in _EMBEDDED


def _serve_metrics(keys: APIKeys, port: int) -> None:
    """Serve metrics on loopback, from a thread of its own that ends with the process.

    Raises:
        ConfigurationError: The port is taken.
        MissingExtra: The library is not installed.
    """
    try:
        from asgi_apikey.metrics.prometheus import serve_metrics
    except ModuleNotFoundError as error:
        raise MissingExtra("prometheus", f"{PREFIX}METRICS_PORT") from error
    try:
        serve_metrics(keys, port)
    except OSError as error:
        raise ConfigurationError(f"{PREFIX}METRICS_PORT={port} cannot be listened on: {error.strerror}") from error
