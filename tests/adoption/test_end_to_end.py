"""From their file to a request: the commands as processes, and the middleware."""

from __future__ import annotations

import pytest

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.asgi.types import Receive, Scope, Send
from tests.adoption.golden import GOLDEN, NOW, Golden, named
from tests.adoption.worlds import PEPPER, system_of
from tests.asgi.driver import http, serve
from tests.cli.conftest import Shell
from tests.fakes import FakeClock


def test_a_real_table_is_taken_over_and_its_keys_are_verified(shell: Shell) -> None:
    """As an operator types it; the pepper of the other system comes from the environment."""
    golden = next(each for each in GOLDEN if each.system == "keyshield" and each.scheme == "argon2")
    path, key = golden.database(shell.folder / "theirs.db"), golden.keys["active"]
    shell.environ["ADOPT_DATABASE_URL"] = f"sqlite:///{path}"
    adopted = shell("adopt", "--from", "keyshield", "--owner", "acme", "--yes")
    shell.environ |= {"ASGI_APIKEY_ADOPTED": "keyshield", "ASGI_APIKEY_ADOPTED_SECRET": golden.pepper}
    verified = shell("verify", stdin=key.encode())
    doctor = shell("doctor")
    status = shell("rehash", "--status")

    assert (adopted.returncode, adopted.stderr) == (0, "")
    assert verified.returncode == 0, verified.stderr
    assert golden.pepper not in doctor.stdout + doctor.stderr
    assert "keyshield+argon2  -" in status.stdout
    assert status.returncode == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "golden", [each for each in GOLDEN if each.scheme in {"recipe", "sha256", "sha512"}], ids=named
)
@pytest.mark.parametrize("place", ["header", "bearer"])
async def test_a_request_with_an_adopted_key_is_let_in(golden: Golden, place: str) -> None:
    """Colons, bars and dots in it are part of the key; any other key of its shape is refused."""
    key = golden.keys["active"]
    keys = APIKeys("memory:", pepper=PEPPER, adopted=[system_of(golden)], clock=FakeClock(NOW))
    await keys.import_records(golden.records())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    guarded = APIKeyMiddleware(
        app, keys=keys, header=None if place == "bearer" else "X-API-Key", bearer=place == "bearer"
    )
    statuses = []
    for presented in (key, key[:-1] + ("a" if key[-1] != "a" else "b")):
        line = (
            (b"authorization", f"Bearer {presented}".encode())
            if place == "bearer"
            else (b"x-api-key", presented.encode())
        )
        statuses.append((await serve(guarded, http(line))).status)

    assert statuses == [204, 401]
    await keys.close()
