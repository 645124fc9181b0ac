"""Pure rules of URL paths: which spelling is plain, and what a pattern covers.

Frameworks serve one handler under many spellings (`//admin`, `/a%64min`, `/x/../admin`), and no two agree on which.
So whatever a path is compared with in order to let somebody through, an odd spelling never matches it.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

# Separators and escapes that some server, proxy or router reads differently from its neighbour, and U+FFFD, which
# stands where a server could not decode.
_ODD_CHARACTERS = frozenset("\\;%#?\ufffd\x7f") | frozenset(map(chr, range(0x20)))

# A URL needs escapes for other ASCII characters never (RFC 3986 section 2.3), or they are separators, and an
# escaped separator is exactly what proxies and routers disagree about.
_ESCAPES_NEEDED = frozenset(b' "<>[]^`{|}') | frozenset(range(0x80, 0x100))


def is_plain(path: str) -> bool:
    """Whether a decoded path has one spelling: no separators in disguise, no empty or dot segments but the last."""
    return path.startswith("/") and _ODD_CHARACTERS.isdisjoint(path) and not _has_odd_segment(path)


def is_plainly_escaped(raw_path: object) -> bool:
    """Whether the path as sent escapes only what must be escaped; servers need not tell it (`None`)."""
    if raw_path is None:
        return True
    if not isinstance(raw_path, bytes):
        return False
    # Some clients that call an application in process leave the query in here.
    sent = raw_path.partition(b"?")[0]
    plain, *escaped = sent.split(b"%")
    return plain.startswith(b"/") and b"//" not in sent and all(_is_needed_escape(piece[:2]) for piece in escaped)


def whole_path(path: str, raw_path: object, root_path: str) -> str | None:
    """Return the path that the client has asked for, decoded; None if that cannot be told.

    Routers cut their mounts off a path before what is inside sees it: some put them into `root_path`, as WSGI did, some
    nowhere, and then only the path as it was sent still tells. Where a server does not tell that, the path stands.
    """
    if not isinstance(raw_path, bytes):
        return path
    sent = unquote_to_bytes(raw_path.partition(b"?")[0]).decode("utf-8", "replace")
    return sent if sent in (path, root_path + path) else None


def is_pattern(text: str) -> bool:
    """Whether this is a plain path, or one with `/*` at its end for everything below it."""
    stem = text[:-1] if text.endswith("/*") else text
    return "*" not in stem and is_plain(stem)


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern covers a plain path, or another pattern: `/x/*` covers all below `/x/`, but not `/x`."""
    return path.startswith(pattern[:-1]) if pattern.endswith("/*") else path == pattern


def _has_odd_segment(path: str) -> bool:
    """Whether a segment is empty (but for the last one), `.` or `..`."""
    segments = path.split("/")[1:]
    return "" in segments[:-1] or "." in segments or ".." in segments


def _is_needed_escape(digits: bytes) -> bool:
    try:
        return len(digits) == 2 and digits.isalnum() and int(digits, 16) in _ESCAPES_NEEDED
    except ValueError:
        return False
