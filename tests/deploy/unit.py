"""A systemd unit as data."""

from __future__ import annotations

from collections import defaultdict


def sections(text: str) -> dict[str, dict[str, list[str]]]:
    """Return the values of each setting, in order, by section and name."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[section][name].append(value)
    return found
