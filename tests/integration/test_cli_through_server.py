"""The command line through a running service, over sockets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.test_service import command, serving
from tests.servers import free_port


def test_the_life_of_a_key_through_a_server(tmp_path: Path) -> None:
    """Without store and pepper, by a token from the environment; each change holds when the command has returned."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serving(tmp_path) as service:
        scopes = ("--scope", "apikeys:*", "--scope", "orders:*")
        admin = command(tmp_path, "issue", "--owner", "admin", *scopes, "-q").stdout.strip()
        url = f"http://127.0.0.1:{service.port}"

        def remote(*args: str, stdin: str = "") -> tuple[int, str, str]:
            settings = {"ASGI_APIKEY_URL": "", "ASGI_APIKEY_TOKEN": admin, "ASGI_APIKEY_SERVER": url}
            outcome = command(elsewhere, *args, **settings)
            return outcome.returncode, outcome.stdout, outcome.stderr

        status, issued, _ = remote("--json", "issue", "--owner", "acme", "--name", "ci", "--scope", "orders:read")
        assert status == 0
        key, key_id = json.loads(issued)["key"], json.loads(issued)["record"]["key_id"]
        accepted = service.ask("GET", "/verify", key)[0]
        shown = json.loads(remote("--json", "list", "--owner", "acme")[1])["keys"]
        revoked = json.loads(remote("--json", "revoke", key_id, "--yes", "--reason", "the end")[1])
        refused = service.ask("GET", "/verify", key)[0]
        who = json.loads(remote("--json", "me")[1])
        beyond = remote("issue", "--owner", "acme", "--name", "x", "--scope", "bills:read")

    assert (accepted, refused) == (200, 401)
    assert [each["key_id"] for each in shown] == [key_id]
    assert revoked["receipt"]["confirmed"] is True
    assert revoked["record"]["revoked_by"] == who["actor"] == f"key:{admin.split('_')[2]}"
    assert beyond == (1, "", "Error: this goes beyond what may be handed on: scopes\n")
    assert not (elsewhere / "keys.db").exists()


def test_a_server_that_is_not_there_is_exit_3(tmp_path: Path) -> None:
    """As a store that is not."""
    url = f"http://127.0.0.1:{free_port()}"
    outcome = command(tmp_path, "list", ASGI_APIKEY_URL="", ASGI_APIKEY_SERVER=url, ASGI_APIKEY_TOKEN="x")

    assert (outcome.returncode, outcome.stdout) == (3, "")
    assert "does not answer: Connection refused" in outcome.stderr
