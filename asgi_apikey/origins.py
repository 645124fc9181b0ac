"""Pure rules of origins: from which web pages a key may be used, as browsers tell it in `Origin`.

`https://app.example.com` is that origin alone: scheme, host and port, as RFC 6454 section 4 has it.
`https://*.example.com` is every host one label below `example.com`, but not `example.com`, and not `a.b.example.com`.

Browsers write an origin in one way only (RFC 6454 section 6.2): small letters, no default port, names in Punycode. What
is spelled otherwise is no browser's, and matches nothing; neither does `null`, which every sandboxed page sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from asgi_apikey.errors import InvalidRequest

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_IS_LABEL: Final = re.compile(_LABEL)
_RULE: Final = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    rf"(?P<host>\[[0-9a-f:.]+\]|(?:\*\.)?{_LABEL}(?:\.{_LABEL})*)"
    rf"(?::(?P<port>[0-9]{{1,5}}))?"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class OriginRules:
    """Which origins.

    Attributes:
        exact: As browsers write them.
        wild: Each with what stands before and after the one label that may be any.
    """

    exact: frozenset[str]
    wild: tuple[tuple[str, str], ...] = ()

    def admit(self, origin: str | None) -> bool:
        """Whether a request of this origin is allowed; one that names none, or several (None), is not."""
        if origin is None:
            return False
        return origin in self.exact or any(_is_below(origin, before, after) for before, after in self.wild)

    def cover(self, rule: str) -> bool:
        """Whether whatever one rule allows, in its one spelling, is allowed here."""
        return self.admit(rule) or any(f"{before}*{after}" == rule for before, after in self.wild)


def origin_text(rule: object) -> str:
    """Return an origin, or the pattern of one, in its one spelling.

    Raises:
        InvalidRequest: Another shape, or a `*` that would be more than one label of somebody's own domain.
    """
    found = _RULE.fullmatch(rule.lower()) if isinstance(rule, str) and rule.isascii() else None
    host = None if found is None else _host(found["host"])
    if found is None or host is None or int(found["port"] or 0) > 65_535:
        raise InvalidRequest(
            "an origin is written as https://app.example.com, with a port if it is not the usual one and without a "
            "path; https://*.example.com is every host one label below; names beyond ASCII in Punycode"
        )
    scheme, port = found["scheme"], int(found["port"] or 0)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def origin_rules(rules: Iterable[str]) -> OriginRules:
    """Return the parsed rules.

    Raises:
        InvalidRequest: One cannot be parsed.
    """
    texts = sorted({origin_text(rule) for rule in rules})
    wild = (tuple(text.split("*")) for text in texts if "*" in text)
    return OriginRules(
        frozenset(text for text in texts if "*" not in text), tuple((before, after) for before, after in wild)
    )


def _host(host: str) -> str | None:
    """Return a host in its one spelling; None if there is none like it."""
    if host.startswith("["):
        try:
            return f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    labels = host.split(".")
    # Below a single label is all of a top-level domain, and below a number is no name at all.
    if labels[0] == "*" and (len(labels) < 3 or labels[-1].isdecimal()):
        return None
    return host


def _is_below(origin: str, before: str, after: str) -> bool:
    if not (origin.startswith(before) and origin.endswith(after)):
        return False
    return _IS_LABEL.fullmatch(origin[len(before) : -len(after)]) is not None
