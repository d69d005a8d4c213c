"""``stkit completion``."""

from __future__ import annotations

import rich_click as click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes a shell complete commands, options and the names of recipes.

    \b
    Examples:
        stkit completion bash > ~/.stkit-complete.bash     # then `source` it in ~/.bashrc
        stkit completion zsh > ~/.stkit-complete.zsh       # then `source` it in ~/.zshrc
        stkit completion fish > ~/.config/fish/completions/stkit.fish
    """
    from click.shell_completion import get_completion_class

    from stkit.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    complete = found(cli, {}, "stkit", "_STKIT_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
