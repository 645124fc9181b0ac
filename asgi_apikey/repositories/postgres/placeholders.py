"""From `?` to `$1`: the one thing in which our statements and PostgreSQL's differ."""

from __future__ import annotations

from itertools import count


class Placeholders:
    """Numbers the parameters of statements, each statement once.

    What is remembered is bounded by the statements that exist: there are a few hundred (a filter or a column is in
    or not), all of them made by this package.
    """

    def __init__(self) -> None:
        self._numbered: dict[str, str] = {}

    def numbered(self, sql: str) -> str:
        """Return `sql` with its first `?` as `$1`, the second as `$2`, and so on."""
        known = self._numbered.get(sql)
        if known is None:
            first, *rest = sql.split("?")
            numbers = count(1)
            known = self._numbered[sql] = first + "".join(f"${next(numbers)}{part}" for part in rest)
        return known
