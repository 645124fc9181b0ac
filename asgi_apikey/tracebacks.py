"""An unexpected error as the log may show it."""

from __future__ import annotations

import traceback


def described(error: BaseException, *, frames: int = 20) -> str:
    """Describe an error for the log by class and place alone: its text may quote what was being worked on.

    Args:
        error: One that was raised.
        frames: How many places to name at most: the innermost ones, which tell most, and a recursion has thousands.
    """
    # A negative limit: from the inner end.
    named = traceback.extract_tb(error.__traceback__, limit=-frames)
    places = " > ".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in named)
    return f"{type(error).__qualname__} [{places}]"
