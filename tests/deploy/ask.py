"""Send one request from inside a container: `python -I - METHOD PATH` with this text, and headers and body as JSON.

A container's network is its own, so whoever wants to ask it something has to be in it.
"""

from __future__ import annotations

import http.client
import json
import os
import sys


def main(method: str, path: str, headers: str, body: str) -> None:
    """Print the answer's status and body as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["ASGI_APIKEY_PORT"]), timeout=10)
    connection.request(method, path, body=body or None, headers=json.loads(headers))
    response = connection.getresponse()
    print(json.dumps({"status": response.status, "body": response.read().decode()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
