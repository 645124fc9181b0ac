"""The command group: its guard at the entrance, its exit codes at the exit, and the commands between them.

| exit code | means |
|---|---|
| 0 | done; for `verify`: accepted; for `check-format`: keys found, every checksum right or not comparable here |
| 1 | no: rejected, not found, a change that the key's state does not allow, the answer to a question was no |
| 2 | usage: an option or argument is wrong or missing; nothing was read or changed |
| 3 | the store is missing, busy or not answering; where it says so, the change may have been made |
| 4 | configuration: a setting, a pepper, a library that is not installed |
"""

from __future__ import annotations

import click

from asgi_apikey.cli.adopting import adopt
from asgi_apikey.cli.applying import apply
from asgi_apikey.cli.auditing import audit
from asgi_apikey.cli.changing import amend, delete, disable, enable, revoke
from asgi_apikey.cli.checking import check_format
from asgi_apikey.cli.completing import completion
from asgi_apikey.cli.counting import prune_usage, usage
from asgi_apikey.cli.describing import openapi
from asgi_apikey.cli.doctoring import doctor
from asgi_apikey.cli.expiring import expiring
from asgi_apikey.cli.making import issue, rotate
from asgi_apikey.cli.migrating import migrate
from asgi_apikey.cli.moving import export, import_
from asgi_apikey.cli.options import served_options, session_of
from asgi_apikey.cli.output import write_json
from asgi_apikey.cli.preparing import init, pepper
from asgi_apikey.cli.reading import list_keys, show, verify
from asgi_apikey.cli.rehashing import rehash
from asgi_apikey.cli.serving import serve
from asgi_apikey.cli.telling import changes, me, ready
from asgi_apikey.cli.tidying import prune, revoke_where
from asgi_apikey.cli.values import holds_a_key
from asgi_apikey.cli.variables import listed
from asgi_apikey.cli.webhooks import webhooks
from asgi_apikey.errors import APIKeyError, ConfigurationError, StoreUnavailable, Undecidable
from asgi_apikey.models import JSONValue


def exit_code_of(error: APIKeyError) -> int:
    """Return the exit code of an error; see the table above."""
    if isinstance(error, ConfigurationError):
        return 4
    return 3 if isinstance(error, Undecidable) else 1


class Application(click.Group):
    """A click group that refuses keys among its arguments, and shows this package's errors as such."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at all arguments, before click could repeat one of them in a message.

        Raises:
            UsageError: One of them holds a whole key.
        """
        if not ctx.resilient_parsing and any(holds_a_key(each) for each in args):  # resilient: completing in a shell
            raise click.UsageError(
                "a whole key stands among the arguments, where the process list and the shell's history show it: "
                "take it for leaked and rotate it. Keys are read from standard input: asgi-apikey verify < key.txt"
            )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of this package becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except APIKeyError as error:
            _report(error, as_json=session_of(ctx).as_json)
            ctx.exit(exit_code_of(error))


def _report(error: APIKeyError, *, as_json: bool) -> None:
    """Print the error to standard error. Our errors never carry a secret, so their text may be shown."""
    outcome_unknown = isinstance(error, StoreUnavailable) and error.outcome_unknown
    message = " ".join(str(error).split())
    if as_json:
        fields: dict[str, JSONValue] = {"code": error.code, "message": message, "outcome_unknown": outcome_unknown}
        write_json({"error": fields}, err=True)
        return
    more = "; the change may have been made all the same: look with `show`" if outcome_unknown else ""
    click.echo(f"Error: {message}{more}", err=True)


@click.command(
    cls=Application,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Variables:\n\n{listed()}",
)
@click.version_option(package_name="asgi-apikey")
@served_options
def application() -> None:
    """Issue, find, check and end API keys: in the store that your servers use, or through a server (--server).

    The settings are read from the environment; where it works on the store, give this command the same ones as your
    servers. Whole keys and tokens are read from there, from standard input, or asked for; never taken from the
    arguments.

    Exit codes: 0 done, 1 no, 2 usage, 3 store unavailable, 4 configuration.
    """


for _command in (
    init,
    issue,
    list_keys,
    show,
    verify,
    amend,
    rotate,
    disable,
    enable,
    revoke,
    revoke_where,
    delete,
    prune,
    expiring,
    webhooks,
    migrate,
    pepper,
    check_format,
    audit,
    usage,
    prune_usage,
    apply,
    adopt,
    rehash,
    export,
    import_,
    changes,
    me,
    ready,
    openapi,
    serve,
    doctor,
    completion,
):
    application.add_command(_command)
