"""Several Redis servers that belong together: a cluster, and a master with a replica and Sentinels.

Made of the same program as a single server, with times short enough for tests: whoever is silent for half a second is
replaced.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tests.servers import LOOPBACK, RedisServer

SERVICE: Final = "mymaster"
SILENT_FOR: Final = 500
"""Milliseconds."""

_SLOTS: Final = 16384
_READY_WITHIN: Final = 30.0
_BUS: Final = 10_000
"""What Redis before 7 adds to a node's port for the port that the nodes talk on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster.

    Attributes:
        primaries: Those with slots, in equal parts.
        replicas: Of the first ones, in their order.
    """

    primaries: Sequence[RedisServer]
    replicas: Sequence[RedisServer]

    @property
    def url(self) -> str:
        """Names all primaries."""
        return url_of("redis+cluster", self.primaries)


@dataclass(frozen=True, slots=True)
class Watched:
    """A master, its replica, and who decides which of them is which."""

    master: RedisServer
    replica: RedisServer
    sentinels: Sequence[RedisServer]

    @property
    def url(self) -> str:
        """Names all Sentinels, and the service."""
        return f"{url_of('redis+sentinel', self.sentinels)}/{SERVICE}"

    def master_port(self) -> int:
        """Return the port of whom the first Sentinel takes for the master."""
        [line] = (
            line for line in self.sentinels[0].execute("INFO", "sentinel").decode().splitlines() if SERVICE in line
        )
        return int(line.partition("address=")[2].partition(",")[0].rpartition(":")[2])


def url_of(scheme: str, servers: Sequence[RedisServer]) -> str:
    """Return a URL that names them all."""
    return f"{scheme}://{','.join(f'{LOOPBACK}:{each.port}' for each in servers)}"


@contextmanager
def cluster(primaries: int, *, replicas: int = 0) -> Iterator[Cluster]:
    """Start a cluster whose slots are all served."""
    settings = {"cluster-enabled": "yes", "cluster-node-timeout": str(SILENT_FOR), "repl-diskless-sync-delay": "0"}
    with ExitStack() as stack:
        nodes = [stack.enter_context(_node(settings)) for _ in range(primaries + replicas)]
        for number, node in enumerate(nodes):
            node.execute("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            nodes[0].execute("CLUSTER", "MEET", LOOPBACK, str(node.port))
        for number, node in enumerate(nodes[:primaries]):
            mine = range(_SLOTS * number // primaries, _SLOTS * (number + 1) // primaries)
            node.execute("CLUSTER", "ADDSLOTS", *map(str, mine))
        for node in nodes:
            eventually(lambda node=node: _says(node, f"cluster_known_nodes:{len(nodes)}"))  # type: ignore[misc]
        for primary, replica in zip(nodes, nodes[primaries:], strict=False):
            name = primary.execute("CLUSTER", "MYID").decode()
            eventually(lambda replica=replica, name=name: replica.execute("CLUSTER", "REPLICATE", name) == b"+OK")  # type: ignore[misc]
            eventually(lambda replica=replica: b"master_link_status:up" in replica.execute("INFO", "replication"))  # type: ignore[misc]
        for node in nodes:
            eventually(lambda node=node: _says(node, "cluster_state:ok", f"cluster_slots_ok:{_SLOTS}"))  # type: ignore[misc]
        yield Cluster(nodes[:primaries], nodes[primaries:])


@contextmanager
def watched(sentinels: int = 3) -> Iterator[Watched]:
    """Start a master and a replica that Sentinels watch, and each other."""
    # A Sentinel that is alone decides alone.
    quorum = sentinels // 2 + 1
    with ExitStack() as stack:
        settings = {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}
        master, replica = (stack.enter_context(RedisServer(settings=settings)) for _ in range(2))
        replica.execute("REPLICAOF", LOOPBACK, str(master.port))
        eventually(lambda: b"master_link_status:up" in replica.execute("INFO", "replication"))
        lines = [
            f"sentinel monitor {SERVICE} {LOOPBACK} {master.port} {quorum}",
            f"sentinel down-after-milliseconds {SERVICE} {SILENT_FOR}",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        watching = [stack.enter_context(RedisServer(settings={}, watches=lines)) for _ in range(sentinels)]
        found = Watched(master, replica, watching)
        for each in watching:
            eventually(lambda each=each: _knows(each, slaves=1, sentinels=sentinels))  # type: ignore[misc]
        yield found


def eventually(true: Callable[[], object]) -> None:
    """Wait for other processes.

    Raises:
        TimeoutError: It never becomes true.
    """
    give_up = time.monotonic() + _READY_WITHIN
    while not _holds(true):
        if time.monotonic() > give_up:
            raise TimeoutError("the servers did not come together")
        time.sleep(0.02)


def _holds(true: Callable[[], object]) -> bool:
    with suppress(OSError):
        return bool(true())
    return False


def _says(node: RedisServer, *lines: str) -> bool:
    said = node.execute("CLUSTER", "INFO").decode()
    return all(line in said for line in lines)


def _knows(sentinel: RedisServer, *, slaves: int, sentinels: int) -> bool:
    said = sentinel.execute("INFO", "sentinel").decode()
    return f"status=ok,address={LOOPBACK}" in said and f"slaves={slaves},sentinels={sentinels}" in said


def _node(settings: dict[str, str]) -> RedisServer:
    return RedisServer(settings=settings, port=_node_port())


def _node_port() -> int:
    """A port that is free, as is the one on which a node of this port talks to others."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as own, socket.socket() as others, suppress(OSError):
            own.bind((LOOPBACK, port))
            others.bind((LOOPBACK, port + _BUS))
            return port
