"""A real nginx with our example configuration, in front of an application that says what has reached it."""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.deploy.files import NGINX
from tests.programs import program
from tests.servers import LOOPBACK, ServerProcess, _unprivileged_account, free_port

_SIGQUIT: Final = 3

# What Debian's own nginx.conf has around the files of conf.d, as far as it matters. Every file is in the folder.
_AROUND: Final = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/api.conf;
}}
"""


@dataclass(slots=True)
class Application:
    """What nginx protects: it answers with the request that it has got, or with the status that the path names."""

    port: int
    seen: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def application() -> Iterator[Application]:
    """Serve one on a free port."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            request = {
                "method": self.command,
                "path": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "body": self.rfile.read(int(self.headers.get("content-length", 0))).decode(),
            }
            served.seen.append(request)
            body = json.dumps(request).encode()
            asked = re.fullmatch(r"/status/(\d+)", self.path)
            self.send_response(int(asked[1]) if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

        def log_message(self, *_: object) -> None:
            """The tests look at `seen`."""

    with ThreadingHTTPServer((LOOPBACK, 0), Answer) as server:
        served = Application(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def with_scope(text: str, scope: str, *, below: str) -> str:
    """Return the configuration with a second pair of locations, as the page says, for what needs a scope."""
    guarded = _location(text, "location / {").replace("location / {", f"location {below} {{")
    asked = _location(text, "location = /_verify {").replace("/verify;", f"/verify?scope={scope};")
    pair = (guarded + asked).replace("/_verify", "/_verify_scope")
    return text.replace("    location @undecided", f"{pair}    location @undecided")


def _location(text: str, begins: str) -> str:
    start = text.index(f"    {begins}")
    return text[start : text.index("\n    }\n", start) + len("\n    }\n")]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running nginx."""

    port: int
    folder: Path

    def logs(self) -> str:
        """Everything that it has written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))


@contextmanager
def proxying(app: int, verify: int) -> Iterator[Proxy]:
    """Run nginx in front of the application at one port, asking the service at another one.

    Raises:
        ServerMissing: There is no nginx on this machine.
    """
    nginx = program("nginx", package="nginx")
    proxy = Proxy(free_port(), Path(tempfile.mkdtemp(prefix="asgi-apikey-nginx-")))
    ports = {"listen 80;": f"listen {LOOPBACK}:{proxy.port};", ":8000;": f":{app};", ":8002;": f":{verify};"}
    text = NGINX.read_text(encoding="utf-8")
    for shown, ours in ports.items():
        assert text.count(shown) == 1, shown
        text = text.replace(shown, ours)
    text = with_scope(text, "orders:write", below="/write/")
    # Nobody wants to wait in a test.
    text = text.replace("proxy_read_timeout 5s;", "proxy_read_timeout 1s;")
    (proxy.folder / "api.conf").write_text(text)
    configuration = proxy.folder / "nginx.conf"
    configuration.write_text(_AROUND.format(folder=proxy.folder))
    account = _unprivileged_account() if os.geteuid() == 0 else None
    if account is not None:
        os.chown(proxy.folder, account.pw_uid, account.pw_gid)
    process = ServerProcess(proxy.folder, account=account)
    try:
        process.start(
            [nginx, "-p", proxy.folder, "-e", proxy.folder / "error.log", "-c", configuration],
            lambda: _listens(proxy.port),
        )
        yield proxy
        process.stop(_SIGQUIT)
    finally:
        process.discard()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False
