"""uvicorn's own command, in a process that ends when the process that tests it does, even by being killed."""

from __future__ import annotations

import os
import signal
import sys
import threading

import uvicorn


def end_with_parent() -> None:
    """Wait for the end of standard input, whose other end only the parent holds, and stop in good order."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    uvicorn.main()
