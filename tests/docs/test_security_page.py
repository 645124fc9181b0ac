"""The security page names tests, and they are there."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

from tests.docs.pages import DOCS, ROOT, code_words, headings, prose, section

PAGE: Final = DOCS / "security.md"
INVARIANTS: Final = 12

_TEST = re.compile(r"tests/[\w/]+\.py::\w[\w:]*")


def named_tests(text: str) -> set[str]:
    """The ids of tests in a text, without parameters."""
    return {word for word in code_words(text) if _TEST.fullmatch(word)}


def collected(files: set[str]) -> set[str]:
    """The ids of the tests that pytest finds in these files, without parameters."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", "--color=no", *sorted(files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return {line.partition("[")[0].strip() for line in found.stdout.splitlines() if "::" in line}


def test_every_named_test_is_collected() -> None:
    """A test that was renamed or removed is missed here, on whichever page it is named."""
    named = {test for page in [PAGE, *DOCS.glob("decisions/*.md")] for test in named_tests(prose(page))}

    missing = named - collected({test.partition("::")[0] for test in named})

    assert missing == set()


def test_every_invariant_names_its_tests() -> None:
    """Twelve of them, numbered, each held by two tests at least."""
    numbered = [heading for heading in headings(PAGE) if re.match(r"\d+\. ", heading)]

    assert [heading.partition(".")[0] for heading in numbered] == [str(number + 1) for number in range(INVARIANTS)]
    assert [heading for heading in numbered if len(named_tests(section(PAGE, heading))) < 2] == []
