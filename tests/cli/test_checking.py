"""`check-format`: keys in any text, offline."""

from __future__ import annotations

from pathlib import Path

from asgi_apikey.keyformat import KeyFormat
from tests.cli.conftest import Console, Shell

RING = "0123456789abcdef"


def mistyped(key: str) -> str:
    """The key with one letter of its secret swapped for another."""
    place = len(key) - 20
    return key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]


def test_a_key_says_what_it_is(console: Console) -> None:
    """Prefix, environment, id, version, checksum: without the store, and masked."""
    new = KeyFormat().generate("live")
    checked = console("check-format", stdin=new.key)

    assert checked.exit_code == 0
    assert checked.stdout == f"line 1: ak_live_{new.key_id}_…{new.hint}  version 1, checksum ok\n"
    assert console.opened_with is None


def test_json_has_one_entry_per_key_in_order(console: Console) -> None:
    """With the line it stands in, and never the key."""
    console.environ["ASGI_APIKEY_CHECKSUM_KEY"] = RING
    first, second = KeyFormat().generate("live"), KeyFormat(checksum_keys=[RING]).generate("test")
    found = console.json("check-format", stdin=f"start\nurl=https://x/?k={first.key}&b\n\n'{second.key}'\n")

    assert found == {
        "keys": [
            {
                "line": 2,
                "prefix": "ak",
                "environment": "live",
                "key_id": first.key_id,
                "version": "1",
                "hint": first.hint,
                "checksum": "ok",
            },
            {
                "line": 4,
                "prefix": "ak",
                "environment": "test",
                "key_id": second.key_id,
                "version": "2",
                "hint": second.hint,
                "checksum": "ok",
            },
        ]
    }


def test_a_mistyped_key_is_told_from_none(console: Console) -> None:
    """Exit 1 for both, but only one of them has a line."""
    key = KeyFormat().generate("live").key
    wrong = console("check-format", stdin=f"{key}\n{mistyped(key)}\n")
    none = console("check-format", stdin="nothing here\n")

    assert wrong.exit_code == 1
    assert [line.rpartition(" ")[2] for line in wrong.stdout.splitlines()] == ["ok", "wrong"]
    assert (none.exit_code, none.stdout) == (1, "")
    assert none.stderr == "no key with the prefix 'ak' found\n"


def test_a_key_under_an_unknown_checksum_key_is_not_called_wrong(console: Console) -> None:
    """It cannot be told here; exit 0."""
    key = KeyFormat(checksum_keys=[RING]).generate("live").key
    checked = console("check-format", stdin=key)

    assert checked.exit_code == 0
    assert "not compared" in checked.stdout
    assert console.json("check-format", stdin=key)["keys"][0]["checksum"] == "not_compared"


def test_two_keys_that_touch_are_both_found_and_nothing_else(console: Console) -> None:
    """A lookalike that overlaps a key is part of it."""
    first, second = (KeyFormat().generate("live").key for _ in range(2))
    found = console.json("check-format", stdin=f"{first}_{second}")

    assert [each["checksum"] for each in found["keys"]] == ["ok", "ok"]


def test_the_prefix_comes_from_the_settings(console: Console) -> None:
    """Keys of other deployments are other people's."""
    console.environ["ASGI_APIKEY_PREFIX"] = "acme_eu"
    ours, theirs = KeyFormat("acme_eu").generate("live"), KeyFormat().generate("live")
    found = console.json("check-format", stdin=f"{theirs.key}\n{ours.key}\n")

    assert [(each["prefix"], each["line"]) for each in found["keys"]] == [("acme_eu", 2)]


def test_a_file_of_any_bytes_is_searched(console: Console, tmp_path: Path) -> None:
    """What is not UTF-8 does not hide a key, and a missing file is a usage error."""
    new = KeyFormat().generate("live")
    file = tmp_path / "service.log"
    file.write_bytes(b"\xff\xfe\x00\n\xe9 " + new.key.encode() + b"\x80\n")

    assert console.json("check-format", str(file))["keys"][0]["key_id"] == new.key_id
    assert console("check-format", str(tmp_path / "absent")).exit_code == 2


def test_bytes_on_standard_input_are_searched_like_a_file(shell: Shell) -> None:
    """A binary stream does not end in a decoding error."""
    new = KeyFormat().generate("live")
    checked = shell("check-format", stdin=b"\xff\xfe " + new.key.encode() + b"\n")

    assert checked.returncode == 0
    assert new.key not in checked.stdout + checked.stderr


def test_at_a_terminal_a_key_is_asked_for(console: Console) -> None:
    """Hidden, like everywhere else."""
    key = KeyFormat().generate("live").key
    console.at_a_terminal = True
    checked = console("check-format", stdin=f"{key}\n")

    assert checked.exit_code == 0
    assert key not in checked.output
    assert checked.stderr.startswith("Key: ")
