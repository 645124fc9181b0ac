"""`completion`: the script by which a shell completes this command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from asgi_apikey.cli.options import shared_options

_PROGRAM = "asgi-apikey"
_VARIABLE = "_ASGI_APIKEY_COMPLETE"


@click.command()
@shared_options
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes commands, options and their values.

    In ~/.bashrc:  eval "$(asgi-apikey completion bash)"

    In ~/.zshrc:  eval "$(asgi-apikey completion zsh)"

    In ~/.config/fish/completions/asgi-apikey.fish:  asgi-apikey completion fish | source
    """
    kind = get_completion_class(shell)
    assert kind is not None, "one of those that click knows"
    click.echo(kind(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())
