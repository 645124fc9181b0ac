"""A real PgBouncer in its transaction mode, in front of a `PostgresServer`."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.programs import program
from tests.servers import LOOPBACK, ServerProcess, _unprivileged_account, free_port

# Transactions go to the two connections in turn, so whatever one leaves behind, the next one does not find.
# Nobody is asked for a password. What PgBouncer does not know of a client's parameters it refuses, as it does by
# default.
_CONFIGURATION = """
[databases]
* = host={host} port={server} user=postgres

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
server_round_robin = 1
"""

# From 1.21 on it can follow prepared statements from one connection to another. Here it must not: it is the trap.
_FOLLOWS_STATEMENTS = (1, 21)
_SIGINT = 2


@contextmanager
def bouncing(server: int) -> Iterator[int]:
    """Run PgBouncer in front of the server at this port; gives the port to connect to.

    Raises:
        ServerMissing: There is none on this machine.
    """
    pgbouncer = program("pgbouncer", package="pgbouncer")
    port = free_port()
    # As PostgreSQL, it does not run as root.
    account = _unprivileged_account() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="asgi-apikey-pgbouncer-"))
    configuration = folder / "pgbouncer.ini"
    text = _CONFIGURATION.format(host=LOOPBACK, server=server, port=port)
    if _version(pgbouncer) >= _FOLLOWS_STATEMENTS:
        text += "max_prepared_statements = 0\n"
    configuration.write_text(text)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    process = ServerProcess(folder, account=account)
    try:
        process.start([pgbouncer, configuration], lambda: _listens(port))
        yield port
        process.stop(_SIGINT)
    finally:
        process.discard()


def _version(pgbouncer: Path) -> tuple[int, ...]:
    said = subprocess.run([pgbouncer, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else (0, 0)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False
