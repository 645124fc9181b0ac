"""Whether the service beside this program is up: exit code 0 or 1. The image has no curl, and needs none.

python -I health.py [path]

`/health`, the default, asks the process alone; `/ready` asks its store too. The answer's body is not looked at.
"""

from __future__ import annotations

import http.client
import os
import sys

PORT = 8002
PATIENCE = 2.0


def status_of(port: int, path: str) -> int:
    """Return the status that the service answers with.

    Raises:
        OSError: Nobody listens, or nobody answers in time.
        http.client.HTTPException: Whoever answers does not speak HTTP.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main(path: str = "/health") -> int:
    """Ask, and say what is wrong, for the engine's log of health checks."""
    try:
        status = status_of(int(os.environ.get("ASGI_APIKEY_PORT") or PORT), path)
    except (OSError, http.client.HTTPException) as error:
        print(f"{path}: {error!r}")
        return 1
    print(f"{path}: {status}")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
