"""What addresses of Redis name. That the servers behind them are found is shown in `tests/invalidation`."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.redisaddress import new_client, new_server


def server(url: str) -> Redis:
    """Return a client of one server, of which nothing is opened."""
    return new_server(url, 0.5)()


def options(client: Redis) -> dict[str, object]:
    """Return what its connections are made with."""
    found: dict[str, object] = client.connection_pool.connection_kwargs
    return found


def test_one_server_is_read_by_redis_py() -> None:
    """With its own spelling of options, and our time-outs where the URL has none."""
    found = options(server("rediss://u:p%40@host:7/2?ssl_ca_certs=ca.pem&socket_timeout=3"))

    assert (found["host"], found["port"], found["db"]) == ("host", 7, 2)
    assert (found["username"], found["password"], found["ssl_ca_certs"]) == ("u", "p@", "ca.pem")
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (3.0, 0.5)


def test_each_client_of_messages_is_of_the_next_node() -> None:
    """So that a node which is lost is left at once; the port is 6379 where none is written."""
    make = new_server("redis+cluster://u:p@one:7001,two,[::1]:7003", 0.5)
    found = [options(make()) for _ in range(4)]

    assert {(each["host"], each["port"]) for each in found} == {("one", 7001), ("two", 6379), ("::1", 7003)}
    assert found[3]["host"] == found[0]["host"]
    assert {each["username"] for each in found} == {"u"}


def test_a_client_that_stores_is_of_the_whole_cluster() -> None:
    """It asks any of the nodes for the others, and takes silence for a fault before the operation is cut off."""
    found = new_client("redis+cluster://:p@one:7001,two:7002", 0.5)()

    assert isinstance(found, RedisCluster)
    assert {(each.host, each.port) for each in found.nodes_manager.startup_nodes.values()} == {
        ("one", 7001),
        ("two", 7002),
    }
    assert found.connection_kwargs["password"] == "p"
    assert found.connection_kwargs["socket_timeout"] == 0.25
    assert found.connection_kwargs["connection_class"] is Connection


def test_a_cluster_over_tls() -> None:
    """All its nodes are, with the same certificates."""
    found = new_client("rediss+cluster://one?ssl_ca_certs=ca.pem", 0.5)()

    assert isinstance(found, RedisCluster)
    assert found.connection_kwargs["connection_class"] is SSLConnection
    assert found.connection_kwargs["ssl_ca_certs"] == "ca.pem"


@pytest.mark.parametrize("make", [new_client, new_server])
def test_sentinels_are_asked_for_the_master(make: type) -> None:
    """The name follows the hosts, then the database; the user is the master's, and Sentinels may have another."""
    url = "redis+sentinel://u:p@one,two:7002/my%20master/2?sentinel_username=s&sentinel_password=t&client_name=c"
    pool = make(url, 0.5)().connection_pool

    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "my master"
    assert pool.connection_class is SentinelManagedConnection
    assert [pool.connection_kwargs[name] for name in ("username", "password", "db")] == ["u", "p", 2]
    assert pool.connection_kwargs["client_name"] == "c"
    sentinels = pool.sentinel_manager
    assert list(sentinels.places) == [("one", 26379), ("two", 7002)]
    assert [sentinels.options[name] for name in ("username", "password")] == ["s", "t"]
    assert "client_name" not in sentinels.options
    assert "db" not in sentinels.options


def test_sentinels_over_tls() -> None:
    """They and the master, with the same certificates."""
    pool = server("rediss+sentinel://one/m?ssl_ca_certs=ca.pem&sentinel_ssl_check_hostname=no").connection_pool

    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "ca.pem"
    assert pool.sentinel_manager.options["ssl"] is True
    assert pool.sentinel_manager.options["ssl_ca_certs"] == "ca.pem"
    assert pool.sentinel_manager.options["ssl_check_hostname"] is False


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hush",
        "http://u:hush@h",
        "redis+http://u:hush@h",
        "unix+cluster://u:hush@h",
        "http+sentinel://u:hush@h/m",
        "redis://u:hush@h:port",
        "redis+cluster://",
        "redis+cluster://u:hush@",
        "redis+cluster://u:hush@h,",
        "redis+cluster://u:hush@h:port",
        "redis+cluster://u:hush@h/1",
        "redis+cluster://u:hush@h?db=1",
        "redis+cluster://u:hush@h?hush=1",
        "redis+cluster://u:hush@[::1:7001",
        "redis+sentinel://u:hush@h",
        "redis+sentinel://u:hush@/m",
        "redis+sentinel://u:hush@h/m/hush",
        "redis+sentinel://u:hush@h/m/1/2",
        "redis+sentinel://u:hush#h@h/m",
        "redis+sentinel://u:hush@h:99999999/m",
        "redis+sentinel://u:hush@h/m?socket_timeout=hush",
    ],
)
def test_what_cannot_be_read_is_refused(url: str) -> None:
    """At construction, with the ways to write it, and without a part of it in any message or cause."""
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://host") as refused:
        new_client(url, 0.5)

    assert "hush" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("timeout", [0, -1, 11, float("nan"), float("inf")])
def test_impossible_time_outs_are_refused(timeout: float) -> None:
    """Nobody waits for ever, and nobody not at all."""
    for make in (new_client, new_server):
        with pytest.raises(ConfigurationError, match="time-out"):
            make("redis://h", timeout)


def test_a_function_is_left_as_it_is() -> None:
    """Whoever gives one makes the client."""

    def make() -> Redis:
        return Redis()

    assert new_client(make, 0.5) is make
    assert new_server(make, 0.5) is make
