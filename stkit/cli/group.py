"""A command group that imports a command only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import rich_click as click

from stkit.errors import UsageError, nearest

PACKAGE = "stkit.cli.commands"


class LazyGroup(click.RichGroup):
    """Commands of a static map, and after them the plugins'.

    Args:
        summaries: for each command its line in the help.
    """

    def __init__(self, *args: Any, summaries: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.summaries = summaries
        self._listing = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in commands in their order, then the plugins'."""
        return [*self.summaries, *(name for name in _plugin_commands() if name not in self.summaries)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; while the help is written only its name and summary are needed."""
        if self._listing:
            summary = self.summaries.get(cmd_name) or _plugin_commands()[cmd_name].summary
            return click.RichCommand(name=cmd_name, short_help=summary, help=summary)
        if cmd_name in self.summaries:
            command: click.Command = import_module(module_of(cmd_name)).command
            return command
        spec = _plugin_commands().get(cmd_name)
        return None if spec is None else _load(spec)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but with the nearest command in the message."""
        name = args[0] if args else ""
        known = name in self.summaries or not name or name.startswith("-")  # then no plugin need be looked at
        if not known and name not in self.list_commands(ctx):
            near = nearest(name, self.list_commands(ctx))
            hint = f"did you mean {near[0]!r}?" if near else "`stkit --help` lists them"
            raise UsageError(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without importing the commands."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def module_of(command: str) -> str:
    """Where a built-in command is: ``new-plugin`` in ``stkit.cli.commands.new_plugin``."""
    return f"{PACKAGE}.{command.replace('-', '_')}"


def _plugin_commands() -> dict[str, Any]:
    from stkit.plugin.manager import plugins

    # The first of two plugins that bring the same command has it; the order never depends on sys.path.
    commands: dict[str, Any] = {}
    for spec in plugins().specs("commands"):
        commands.setdefault(spec.name, spec)
    return commands


def _load(spec: Any) -> click.Command:
    try:
        found = spec.load_target() if hasattr(spec, "load_target") else _imported(spec.target)
    except Exception as error:  # third-party code
        message = f"the command {spec.name!r} of plugin {spec.plugin!r} ({spec.distribution}) cannot be imported"
        raise UsageError(f"{message}: {type(error).__name__}: {error}") from error
    if not isinstance(found, click.Command):
        raise UsageError(f"{spec.target!r} of plugin {spec.plugin!r} ({spec.distribution}) is no click command")
    return found


def _imported(target: str) -> Any:
    from stkit.plugin.specs import import_string

    return import_string(target)
