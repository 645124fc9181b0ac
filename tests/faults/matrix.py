"""The fault matrix: every row is run, judged by the oracle, and written into a table.

    python -m tests.faults.matrix [ROW …] [--sample] [--write docs/faults.md]

I1 no request sent after a confirmed receipt is accepted (unconfirmed: after `max_staleness`); I2 no key that was never
issued is accepted, and none as another; I3 every answer is 200, 401, 403, 429 or 503, with Retry-After where it says
"later", never 500 and never late; I4 what was acknowledged is in the store and in the audit; I5 no secret is in any
log; I6 all workers serve within 3 s of the end of the fault. A row holds only if all of them do, in its whole course.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.faults import rows_bus, rows_floods, rows_store, rows_workers
from tests.faults.oracle import Ground, ground
from tests.faults.rows import SAMPLE, WHOLE, Row, Scale, Seen

ROWS: Final[tuple[Row, ...]] = tuple(
    sorted(
        (*rows_bus.ROWS, *rows_store.ROWS, *rows_workers.ROWS, *rows_floods.ROWS),
        key=lambda row: (int("".join(filter(str.isdigit, row.ident))), row.ident),
    )
)

_BEGIN: Final = "<!-- written by `python -m tests.faults.matrix --write` -->"
_END: Final = "<!-- end -->"
_FOLDER: Final = re.compile(r"/\S*asgi-apikey-faults-\S*")


async def judged(row: Row, here: Ground, scale: Scale) -> tuple[str, Seen]:
    """Run one row and return its verdict: held, BROKEN, or not run."""
    if row.run is None:
        return "not run", Seen(row.reason)
    try:
        outcome = await row.run(here, scale)
    except Exception as error:  # a row that fails is a row of the table, and the others go on
        traceback.print_exc()
        return "BROKEN", Seen("the run itself failed", (f"{type(error).__name__}: {error}",))
    return ("BROKEN" if outcome.broken else "held"), outcome


async def run(rows: Sequence[Row], scale: Scale) -> list[tuple[Row, str, Seen]]:
    """Run rows one after the other, and print each when it is through."""
    results = []
    with ground() as here:
        for row in rows:
            began = time.monotonic()
            verdict, outcome = await judged(row, here, scale)
            print(
                f"{row.ident:5} {verdict:8} {time.monotonic() - began:6.1f} s  {row.fault}: {outcome.text}", flush=True
            )
            for line in outcome.broken:
                print(f"      ! {line}", flush=True)
            results.append((row, verdict, outcome))
    return results


def line(row: Row, verdict: str, outcome: Seen, scale: Scale) -> str:
    """Return a row of the table, as Markdown."""
    size = f"{time.strftime('%Y-%m-%d', time.gmtime())}, {scale.revokes} revokes, {scale.seconds:g} s"
    text = "; ".join((outcome.text, *outcome.broken)).replace("|", "\\|").replace("\n", " ")
    # Where the run's own folder was is of no interest to anybody.
    text = _FOLDER.sub("…", text)
    cells = [row.ident, row.fault, row.injected, row.expected, text, verdict, size if row.run else ""]
    return f"| {' | '.join(cells)} |"


def write(path: Path, results: Sequence[tuple[Row, str, Seen]], scale: Scale) -> None:
    """Put rows into the table between the page's marks, in place of those that stood there; others stay."""
    before, _, rest = path.read_text().partition(_BEGIN)
    table, _, after = rest.partition(_END)
    lines = {each.split(" | ")[0].removeprefix("| "): each for each in table.splitlines() if each.startswith("| F")}
    lines |= {row.ident: line(row, verdict, outcome, scale) for row, verdict, outcome in results}
    kept = [lines[row.ident] for row in ROWS if row.ident in lines]
    head = [
        f"Python {platform.python_version()}, {os.cpu_count()} cores, 4 workers. The last column says when a row was "
        "run, how many keys were revoked at least while its fault went on, and how long that was.",
        "",
        "| row | fault | injected how | expected, besides I1 to I6 | seen | verdict | run |",
        "|---|---|---|---|---|---|---|",
    ]
    path.write_text(before + "\n".join([_BEGIN, "", *head, *kept, "", _END]) + after)


def main() -> int:
    """Run the rows that the command line names; return how many are broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="*", help="such as F10 or F11a; default: all")
    parser.add_argument("--sample", action="store_true", help="12 revokes and faults of 3 s, instead of 200 and 10 s")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put these rows into the page's table")
    given = parser.parse_args()
    scale = SAMPLE if given.sample else WHOLE
    rows = [row for row in ROWS if not given.row or row.ident in given.row or row.ident.rstrip("abcdefgh") in given.row]
    results = asyncio.run(run(rows, scale))
    if given.write is not None:
        write(given.write, results, scale)
    return sum(verdict == "BROKEN" for _, verdict, _ in results)


if __name__ == "__main__":
    sys.exit(main())
