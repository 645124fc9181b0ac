"""Who knows of whom."""

from __future__ import annotations

import grimp

GRAPH = grimp.build_graph("asgi_apikey", include_external_packages=True, cache_dir=None)


def test_one_module_imports_the_library() -> None:
    """Not the package: that one module."""
    assert GRAPH.find_modules_that_directly_import("jwt") == {"asgi_apikey.jwt.keys"}


def test_the_middleware_does_not_know_the_verifier() -> None:
    """It knows a Protocol, so that it works without the extra."""
    known = GRAPH.find_upstream_modules("asgi_apikey.asgi.middleware")

    assert "asgi_apikey.errors" in known
    assert not {name for name in known if name == "jwt" or name.startswith("asgi_apikey.jwt")}
