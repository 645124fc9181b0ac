"""What an address of Redis names: one server, a cluster, or the master that Sentinels know.

    redis://user:password@host:6379/0          rediss:// the same over TLS; unix:///path
    redis+cluster://user:password@host:6379,host:6379
    redis+sentinel://user:password@host:26379,host:26379/mymaster/0

Over TLS the last two begin with `rediss+`. Options of redis-py follow a question mark; those that begin with
`sentinel_`, such as `sentinel_password`, are for the Sentinels themselves.

The defaults of redis-py are made for patient callers: on a frozen server one request waited 59 s (5 s for each of 11
tries, and pauses), measured with redis-py 8.1. What is made here tries once; callers decide what is tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Seconds

NewServer: TypeAlias = Callable[[], Redis]
"""Makes a client of one server, for the running event loop; we close it."""

NewClient: TypeAlias = Callable[[], Redis | RedisCluster]
"""The same, also of a whole cluster."""

_T = TypeVar("_T")
_Place: TypeAlias = tuple[str, int]
_Options: TypeAlias = Mapping[str, Any]

_LONGEST_TIMEOUT: Final[Seconds] = 10.0
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_FOR_SENTINELS: Final = "sentinel_"
_FOR_TLS: Final = "ssl_"
_AS_TEXT: Final = {"decode_responses": True}


def new_client(address: str | NewClient, timeout: Seconds) -> NewClient:
    """Return what makes clients that store: of a cluster, they find the node that holds a key.

    Args:
        address: A URL, or a function that returns a new client. Its own time-outs and tries are cut off after `timeout`
            by whoever uses it.
        timeout: Seconds that any one operation may take.

    Raises:
        ConfigurationError: The URL cannot be read, or the time-out is not a possible one.
    """
    _check(timeout)
    if not isinstance(address, str):
        return address
    client: NewClient = _read(address, timeout).client
    return _tried(client)


def new_server(address: str | NewServer, timeout: Seconds) -> NewServer:
    """Return what makes clients that send messages: of a cluster, each one is of the next of the nodes that are named.

    Any node will do, as each passes messages on to all others; and before version 8, redis-py's client of a whole
    cluster cannot subscribe.

    Args:
        address: See `new_client`.
        timeout: See `new_client`.

    Raises:
        ConfigurationError: See `new_client`.
    """
    _check(timeout)
    return address if not isinstance(address, str) else _tried(_read(address, timeout).server)


@dataclass(frozen=True, slots=True)
class _One:
    """One server, by a URL that redis-py reads."""

    url: str
    options: _Options

    def client(self) -> Redis:
        return Redis.from_url(self.url, **self.options)

    server = client


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Some of the nodes of a cluster; they know the others."""

    places: Sequence[_Place]
    turns: Iterator[_Place]
    options: _Options

    def client(self) -> RedisCluster:
        # Half of the time: that a node is silent must be found out before the operation is cut off, or the client would
        # not ask who has taken its place.
        patience = {name: self.options[name] / 2 for name in ("socket_timeout", "socket_connect_timeout")}
        nodes = [ClusterNode(host, port) for host, port in self.places]
        # A part of the cluster that is lost costs what is stored there, and not the rest.
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **{**self.options, **patience})

    def server(self) -> Redis:
        return _server(next(self.turns), self.options)


@dataclass(frozen=True, slots=True)
class _Master:
    """The master of a name that Sentinels know."""

    name: str
    sentinels: _Sentinels
    options: _Options

    def client(self) -> Redis:
        options = dict(self.options)
        connection = SentinelManagedSSLConnection if options.pop("ssl") else SentinelManagedConnection
        # The pool asks its manager for nothing but the master's address.
        manager = cast(Sentinel, self.sentinels)
        new_pool: Callable[..., SentinelConnectionPool] = SentinelConnectionPool
        return Redis.from_pool(new_pool(self.name, manager, connection_class=connection, **options))

    server = client


@dataclass(frozen=True, slots=True)
class _Sentinels:
    """Those who know the master, all asked at once: one that is frozen costs nothing.

    Attributes:
        places: Theirs.
        options: For connections to them.
        masters: For connections to masters.
        asking: Questions on their way.
    """

    places: Sequence[_Place]
    options: _Options
    masters: _Options
    asking: set[asyncio.Task[_Place | Exception]] = field(default_factory=set)

    async def discover_master(self, service_name: str) -> _Place:
        """Return where the master is, under the name that redis-py calls for.

        Raises:
            RedisError: No Sentinel says so.
            OSError: The same.
        """
        loop = asyncio.get_running_loop()
        answers = [loop.create_task(self._ask(place, service_name)) for place in self.places]
        # They end by themselves, with nobody waiting: cancelled while it closes a connection, redis-py leaves it open.
        self.asking.update(answers)
        reason: Exception = MasterNotFoundError("no Sentinel was named")
        for answer in asyncio.as_completed(answers):
            found = await answer
            if not isinstance(found, Exception):
                return found
            reason = found
        raise reason

    async def _ask(self, sentinel: _Place, name: str) -> _Place | Exception:
        try:
            async with asyncio.timeout(2 * float(self.options["socket_timeout"])):
                return await self._master(sentinel, name)
        except (RedisError, OSError, ValueError, TypeError, LookupError) as error:
            return error
        finally:
            self.asking.discard(cast("asyncio.Task[_Place | Exception]", asyncio.current_task()))

    async def _master(self, sentinel: _Place, name: str) -> _Place:
        # Not by the method of this name, whose answer some versions of redis-py cannot read (6.4).
        found = await _answer(sentinel, self.options, "SENTINEL GET-MASTER-ADDR-BY-NAME", name)
        if found is None:
            raise MasterNotFoundError("a Sentinel does not know the master")
        master = (str(found[0]), int(found[1]))
        # Redis documentation, "Guidelines for Redis clients with support for Redis Sentinel", step 3. A Sentinel may be
        # behind the others, and what is sent to a master of before reaches nobody.
        role = await _answer(master, self.masters, "ROLE")
        if role is None or role[0] != "master":
            raise MasterNotFoundError("a Sentinel takes a replica for the master")
        return master


async def _answer(place: _Place, options: _Options, *command: str) -> Sequence[Any] | None:
    """Return what a server says to a command, over a connection of its own."""
    client = _server(place, options)
    try:
        execute: Callable[..., Awaitable[Sequence[Any] | None]] = client.execute_command
        return await execute(*command)
    finally:
        await client.aclose()


def _read(url: str, timeout: Seconds) -> _One | _Cluster | _Master:
    scheme = url.partition("://")[0]
    # RESP2: the same on every server, and on a subscribed connection the one that has been used for longest.
    options = {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if scheme in ("redis", "rediss", "unix"):
        return _One(url, options)
    try:
        return _SEVERAL[scheme.partition("+")[2]](_Parts.of(url), options)
    except (ValueError, LookupError):
        raise _unreadable() from None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A URL that names several hosts, taken apart."""

    tls: bool
    user: str
    hosts: Sequence[str]
    path: Sequence[str]
    query: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, url: str) -> _Parts:
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        user, at, hosts = authority.rpartition("@")
        tls = {"redis": False, "rediss": True}[scheme.partition("+")[0]]
        return cls(tls, user + at, hosts.split(","), unquote(path).strip("/").split("/"), parse_qsl(query))

    def places(self, port: int) -> Sequence[_Place]:
        """Return the hosts, with this port where none is written."""
        found = [urlsplit(f"//{host}") for host in self.hosts]
        if not all(each.hostname for each in found):
            raise ValueError("a host without a name")
        return [(str(each.hostname), each.port or port) for each in found]

    def options(self, query: Sequence[tuple[str, str]], user: str = "") -> _Options:
        """Return what redis-py makes of these, whatever the hosts."""
        read: dict[str, Any] = {**parse_url(f"redis://{user}host/?{urlencode(query)}"), "ssl": self.tls}
        del read["host"]
        return read


def _cluster(parts: _Parts, options: _Options) -> _Cluster:
    if parts.path not in ([""], ["0"]):
        raise ValueError("a cluster has no databases")
    places = parts.places(_PORT)
    # In another order in each process, so that they spread over the nodes.
    turns = cycle(random.sample(places, len(places)))
    return _Cluster(places, turns, {**options, **parts.options(parts.query, parts.user)})


def _master(parts: _Parts, options: _Options) -> _Master:
    name, database = (*parts.path, "0") if len(parts.path) == 1 else parts.path
    if not name:
        raise ValueError("no name of a master")
    ours = [(key, value) for key, value in parts.query if not key.startswith(_FOR_SENTINELS)]
    theirs = [
        (key.removeprefix(_FOR_SENTINELS), value)
        for key, value in parts.query
        if key.startswith((_FOR_SENTINELS, _FOR_TLS))
    ]
    options, asking = (
        {**options, **parts.options(ours, parts.user), "db": int(database)},
        {**options, **parts.options(theirs), **_AS_TEXT},
    )
    return _Master(name, _Sentinels(parts.places(_SENTINEL_PORT), asking, {**options, **_AS_TEXT}), options)


_SEVERAL: Final[Mapping[str, Callable[[_Parts, _Options], _Cluster | _Master]]] = {
    "cluster": _cluster,
    "sentinel": _master,
}


def _tried(make: Callable[[], _T]) -> Callable[[], _T]:
    """Return `make`, if it makes something."""
    try:
        make()
    except (RedisError, RedisClusterException, ValueError, TypeError, LookupError, AttributeError):
        raise _unreadable() from None
    return make


def _unreadable() -> ConfigurationError:
    # Not chained: the message of another error may repeat a part of the URL, which holds a password.
    return ConfigurationError(
        "the URL of Redis cannot be read; write 'redis://user:password@host:6379/0', 'rediss://…' for TLS, "
        "'unix:///path', 'redis+cluster://host:6379,host:6379' or 'redis+sentinel://host:26379,host:26379/mymaster'"
    )


def _check(timeout: Seconds) -> None:
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise ConfigurationError(f"the time-out of Redis must be positive seconds, at most {_LONGEST_TIMEOUT:g}")


def _server(place: _Place, options: _Options) -> Redis:
    host, port = place
    return Redis(host=host, port=port, **options)
