"""`serve`: the service, in the foreground."""

from __future__ import annotations

import click

from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.session import Session
from asgi_apikey.errors import MissingExtra


@click.command()
@shared_options
@click.option("--host", help="Where to listen; default: 127.0.0.1, which only this machine reaches.")
@click.option("--port", help="The port; default: 8002.")
@click.option("--workers", help="Processes; default: 1.")
@click.option("--log-level", help="debug, info, warning or error; default: info.")
@click.option("--log-format", help="json or text; default: json.")
@click.option("--metrics/--no-metrics", default=None, help="Serve /metrics, for Prometheus.")
@click.option("--metrics-port", help="Serve metrics on a loopback port of their own instead.")
@click.option("--migrate/--no-migrate", default=None, help="Make or migrate the store first; default: an SQLite file.")
@click.option("--reload", is_flag=True, help="Start anew when a Python file here changes; for development.")
@click.pass_obj
def serve(
    session: Session,
    host: str | None,
    port: str | None,
    workers: str | None,
    log_level: str | None,
    log_format: str | None,
    metrics: bool | None,
    metrics_port: str | None,
    migrate: bool | None,
    reload: bool,
) -> None:
    """Serve the management API, /verify for proxies, /health and /ready, until SIGTERM or Ctrl-C.

    Whoever calls needs a key with scopes for it. The first one is made here:

    asgi-apikey issue --owner admin --scope 'apikeys:*'
    """
    try:
        # Here, not at the top: other commands do without the libraries of a server.
        from asgi_apikey.service.server import serve as run
    except ModuleNotFoundError as error:
        raise MissingExtra("serve", "`asgi-apikey serve`") from error
    sources = session.sources(
        {
            "HOST": host,
            "PORT": port,
            "WORKERS": workers,
            "LOG_LEVEL": log_level,
            "LOG_FORMAT": log_format,
            "METRICS": _switch(metrics),
            "METRICS_PORT": metrics_port,
            "MIGRATE": _switch(migrate),
        }
    )
    run(sources, reload=reload)


def _switch(value: bool | None) -> str | None:
    return None if value is None else str(int(value))
