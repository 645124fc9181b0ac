"""What has to be forgotten in a child process."""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod


def after_fork(begin_anew: Callable[[], None]) -> None:
    """Have a bound method called in every child process, for as long as its object lives."""
    weak = WeakMethod(begin_anew)

    def in_child() -> None:
        method = weak()
        if method is not None:
            method()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)
