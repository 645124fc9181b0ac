"""`init` and `pepper`."""

from __future__ import annotations

from asgi_apikey.hashers.peppers import PepperRing
from asgi_apikey.keyformat import KeyFormat
from tests.cli.conftest import Console, Shell


def test_init_makes_the_store_and_may_be_repeated(shell: Shell) -> None:
    """The second run finds it there and loses nothing."""
    first = shell("init")
    shell("issue", "--owner", "acme")
    second = shell("--json", "init")

    assert (first.returncode, first.stdout) == (0, "the key store is ready\n")
    assert (second.returncode, second.stdout) == (0, '{"ready": true}\n')
    assert "acme" in shell("list").stdout


def test_pepper_prints_a_new_one_each_time_that_can_be_used_for_both_rings(console: Console) -> None:
    """What is printed passes the checks of peppers and of checksum keys."""
    first, second = console("pepper").stdout.strip(), console.json("pepper")["pepper"]

    assert first != second
    assert len(set(PepperRing([first, second]))) == 2
    KeyFormat(checksum_keys=[first])


def test_pepper_needs_no_settings(console: Console) -> None:
    """It is what one calls to be able to write them."""
    console.environ = {"ASGI_APIKEY_NONSENSE": "1"}

    assert console("pepper").exit_code == 0
