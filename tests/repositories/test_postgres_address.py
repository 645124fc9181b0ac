"""The spellings of a PostgreSQL URL, and of its statements' parameters."""

from __future__ import annotations

import sys
import traceback

import pytest

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.repositories import SQLRepository, open_repository, statements
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.postgres.address import Address, address_of
from asgi_apikey.repositories.postgres.placeholders import Placeholders


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:p@h:5432/d"),
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+asyncpg://u:p%40%2F@h/d", "postgresql://u:p%40%2F@h/d"),
        ("postgresql://h", "postgresql://h"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=%2Frun%2Fpostgresql"),
        ("postgresql://u@[::1]:5433/d", "postgresql://u@[::1]:5433/d"),
        ("postgresql://h/d?sslmode=verify-full", "postgresql://h/d?sslmode=verify-full"),
        ("postgresql+asyncpg://h/d?ssl=true", "postgresql://h/d?sslmode=require"),
        ("postgresql+asyncpg://h/d?ssl=verify-ca", "postgresql://h/d?sslmode=verify-ca"),
        ("postgresql://h/d?search_path=keys", "postgresql://h/d?search_path=keys"),
        ("postgresql://a:1,b:2/d", "postgresql://a:1,b:2/d?target_session_attrs=primary"),
        ("postgresql://a,b/d?target_session_attrs=any", "postgresql://a,b/d?target_session_attrs=any"),
    ],
)
def test_spellings(url: str, dsn: str) -> None:
    """The URLs of libpq and of SQLAlchemy's asyncpg dialect are understood; of several hosts the primary is used."""
    assert address_of(url) == Address(dsn, 100)


@pytest.mark.parametrize(
    ("url", "argument", "size"),
    [
        ("postgresql://h/d?statement_cache_size=0", None, 0),
        ("postgresql+asyncpg://h/d?prepared_statement_cache_size=0", None, 0),
        ("postgresql://h/d?statement_cache_size=7", 0, 0),
        ("postgresql://h/d", 5, 5),
    ],
)
def test_the_statement_cache(url: str, argument: int | None, size: int) -> None:
    """Its size is an option of the URL that PostgreSQL never sees; an argument goes before it."""
    assert address_of(url, statement_cache_size=argument) == Address("postgresql://h/d", size)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql",
        "mysql://u:hunter2@h/d",
        "postgresql://u:hunter2@@h/d",
        "postgresql://u:hunt/er2@h/d",
        "postgresql://u:hunt#er2@h/d",
        "postgresql://u:hunt?er2@h/d",
        "postgresql://u:12/hunter2@h/d",
        "postgresql://[hunter2/d",
        "postgresql://u:p@h:hunter2/d",
        "postgresql://h:\u0663/d",
        "postgresql://h/d?hunter2",
        "postgresql://h/d?statement_cache_size=hunter2",
        "postgresql://h/d?statement_cache_size=-1",
    ],
)
def test_what_cannot_be_read_is_refused_without_being_repeated(url: str) -> None:
    """Passwords with unescaped characters are cut anywhere, so no piece is shown, not even by a chained error."""
    with pytest.raises(ConfigurationError, match=r"write 'postgresql://|statement_cache_size must be") as caught:
        address_of(url)

    shown = "".join(traceback.format_exception(caught.value)).replace(url, "")
    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, shown


def test_an_address_is_silent() -> None:
    """Its repr does not show the password."""
    assert "hunter2" not in repr(address_of("postgresql://u:hunter2@h/d"))


@pytest.mark.parametrize("options", [{"deadline": 0}, {"deadline": float("nan")}, {"deadline": 1e9}, {"pool_size": 2}])
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    """A deadline is positive and fits the server's own timers; two of the connections are for writes."""
    with pytest.raises(ConfigurationError, match="must be"):
        PostgresDriver("postgresql://h/d", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_every_spelling_opens_a_repository(scheme: str) -> None:
    """`open_repository` knows PostgreSQL by each of its names, and connects to nothing yet."""
    assert isinstance(open_repository(f"{scheme}://u:p@nowhere.invalid/d"), SQLRepository)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asyncpg a postgresql: URL says which extra to install."""
    for module in [name for name in sys.modules if name.startswith("asgi_apikey.repositories.postgres")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(MissingExtra, match=r"asgi-apikey\[postgres\]"):
        open_repository("postgresql://h/d")


def test_parameters_are_numbered_in_order() -> None:
    """The first `?` is $1, and a statement is only translated once."""
    placeholders = Placeholders()

    numbered = placeholders.numbered("SELECT ?, (? + ?)")

    assert numbered == "SELECT $1, ($2 + $3)"
    assert placeholders.numbered("SELECT ?, (? + ?)") is numbered
    assert placeholders.numbered(statements.GET).endswith("WHERE key_id = $1")
    assert placeholders.numbered("SELECT 1") == "SELECT 1"


def test_the_size_of_the_pool_is_an_option_of_ours() -> None:
    """It never reaches the server, and must be a number."""
    address = address_of("postgresql://app@db/keys?pool_size=15&sslmode=require")

    assert (address.pool_size, address.dsn) == (15, "postgresql://app@db/keys?sslmode=require")
    assert address_of("postgresql://app@db/keys").pool_size is None
    with pytest.raises(ConfigurationError, match="pool_size must be a whole number"):
        address_of("postgresql://app@db/keys?pool_size=many")
