"""What another process does to a key, as eight serving processes see it, each within the time that was promised.

Promises are about requests that *begin* after an instant, so a slow machine makes these tests longer, not wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asgi_apikey.models import Instant
from tests.integration.desk import Desk
from tests.integration.hosts import Host

Hosts = dict[str, Host]


def test_a_revoked_key_ends_everywhere(hosts: Hosts, desk: Desk) -> None:
    """When the receipt is confirmed, no serving process answers the next request with anything but a refusal."""
    issued = desk.run(desk.keys.issue(owner="acme"))
    assert statuses(hosts, issued.key) == {200}

    receipt = desk.run(desk.keys.revoke(issued.record.key_id, by="ops", reason="leaked"))

    assert receipt.confirmed
    assert receipt.workers >= len(hosts)
    assert statuses(hosts, issued.key) == {401}


def test_a_revoked_key_opens_no_websocket(hosts: Hosts, desk: Desk) -> None:
    """A key that is refused over HTTP is refused for WebSockets by the same process."""
    issued = desk.run(desk.keys.issue(owner="acme"))
    desk.run(desk.keys.revoke(issued.record.key_id))

    for host in hosts.values():
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"ws://127.0.0.1:{host.port}/ws", additional_headers={"X-API-Key": issued.key}),
        ):
            pass

        assert refused.value.response.status_code == 401


def test_a_deleted_key_ends_everywhere(hosts: Hosts, desk: Desk) -> None:
    """A deleted key is refused by all within the bound of its receipt."""
    issued = desk.run(desk.keys.issue(owner="acme"))
    assert statuses(hosts, issued.key) == {200}

    receipt = desk.run(desk.keys.delete(issued.record.key_id))
    deleted_at = time.time()

    for host in hosts.values():
        wait_for_end(host, issued.key, not_later_than=deleted_at + receipt.max_staleness)


def test_an_expired_key_ends_to_the_instant(hosts: Hosts, desk: Desk) -> None:
    """No request that begins at or after `expires_at` is let in, though every process had remembered the key."""
    issued = desk.run(desk.keys.issue(owner="acme", expires_in=2.0))
    expires_at = issued.record.expires_at
    assert expires_at is not None
    assert statuses(hosts, issued.key) == {200}

    for host in hosts.values():
        wait_for_end(host, issued.key, not_later_than=expires_at)

    assert statuses(hosts, issued.key) == {401}


def test_a_key_starts_to_the_instant(hosts: Hosts, desk: Desk) -> None:
    """A key is refused before `not_before`, and let in from then on, though every process had refused it lately."""
    not_before = time.time() + 1.5
    issued = desk.run(desk.keys.issue(owner="acme", not_before=not_before))
    assert statuses(hosts, issued.key) == {401}

    for host in hosts.values():
        wait_for_start(host, issued.key, not_later_than=not_before)


def test_rotation_leaves_a_grace(hosts: Hosts, desk: Desk) -> None:
    """During the grace both keys are let in; after it only the successor."""
    replaced = desk.run(desk.keys.issue(owner="acme", name="ci"))
    assert statuses(hosts, replaced.key) == {200}

    successor = desk.run(desk.keys.rotate(replaced.record.key_id, grace=2.0))
    during = (statuses(hosts, replaced.key), statuses(hosts, successor.key))
    rotated_at = successor.record.created_at

    assert during == ({200}, {200})
    assert successor.receipt is not None
    promised_by = rotated_at + successor.receipt.max_staleness
    ends_at = desk.run(desk.keys.get(replaced.record.key_id)).expires_at
    assert ends_at is not None
    assert ends_at == pytest.approx(rotated_at + 2.0, abs=1.0)
    for host in hosts.values():
        wait_for_end(host, replaced.key, not_later_than=max(ends_at, promised_by))
    assert statuses(hosts, successor.key) == {200}


def test_a_disabled_key_can_be_enabled(hosts: Hosts, desk: Desk) -> None:
    """A disabled key ends within the bound, and works again within the bound of its enabling."""
    issued = desk.run(desk.keys.issue(owner="acme"))
    assert statuses(hosts, issued.key) == {200}

    disabling = desk.run(desk.keys.disable(issued.record.key_id))
    disabled_at = time.time()
    for host in hosts.values():
        wait_for_end(host, issued.key, not_later_than=disabled_at + disabling.max_staleness)
    enabling = desk.run(desk.keys.enable(issued.record.key_id))
    enabled_at = time.time()

    for host in hosts.values():
        wait_for_start(host, issued.key, not_later_than=enabled_at + enabling.max_staleness)


def statuses(hosts: Hosts, key: str) -> set[int]:
    """Ask every host once."""
    return {host.status(key) for host in hosts.values()}


def wait_for_end(host: Host, key: str, *, not_later_than: Instant) -> None:
    """Ask until the key is refused, and then once more; no request that begins too late may be let in."""
    _ask_until(lambda: host.status(key) == 401, not_later_than, f"{host.name} goes on letting the key in")
    assert host.status(key) == 401


def wait_for_start(host: Host, key: str, *, not_later_than: Instant) -> None:
    """Ask until the key is let in; no request that begins too late may be refused."""
    _ask_until(lambda: host.status(key) == 200, not_later_than, f"{host.name} goes on refusing the key")


def _ask_until(answered: Callable[[], bool], not_later_than: Instant, complaint: str) -> None:
    while True:
        began = time.time()
        if answered():
            return
        assert began < not_later_than, complaint
        time.sleep(0.02)  # only to leave the processors to the hosts
