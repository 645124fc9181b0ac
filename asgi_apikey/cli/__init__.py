"""The command `asgi-apikey`: the verbs of a key's life for people and scripts with access to the store."""

from __future__ import annotations

import io
import os
import sys

from asgi_apikey.errors import MissingExtra

_CONFIGURATION = 4


def main() -> None:
    """Run the command with this process's arguments, streams and environment, then exit.

    Raises:
        SystemExit: Always; `application` lists the exit codes. 4 with the command to install where click is missing.
    """
    try:
        # Here, not at the top: the entry point is installed with the core, which does not bring click.
        from asgi_apikey.cli.application import application
        from asgi_apikey.cli.session import Session
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print(f"Error: {MissingExtra('cli', 'the command line')}", file=sys.stderr)
        sys.exit(_CONFIGURATION)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An owner's name that the terminal's encoding lacks is shown escaped; it must not end a revocation half way.
        sys.stdout.reconfigure(errors="backslashreplace")
    application.main(prog_name="asgi-apikey", obj=Session(os.environ))
