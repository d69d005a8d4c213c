"""``stkit plugins``."""

from __future__ import annotations

from typing import Any

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Show the plugins that were loaded, and those that were not and why.

    Third-party plugins can be chosen by the environment: STKIT_PLUGINS=a,b loads only these (empty: none),
    STKIT_PLUGINS_DISABLE=a,b all but these, and STKIT_PLUGINS_STRICT=1 stops at the first broken one.

    \b
    Examples:
        stkit plugins
        STKIT_PLUGINS= stkit plugins --json
    """
    data = collect()
    if as_json:
        print_json(data)
        return
    rows = [[p["name"], p["distribution"], _brings(p["components"])] for p in data["loaded"]]
    print_table(["plugin", "distribution", "brings"], rows, "Loaded")
    if data["failed"]:
        click.echo()
        rows = [[f["name"], f["distribution"], f["reason"]] for f in data["failed"]]
        print_table(["plugin", "distribution", "why"], rows, "Not loaded, or in part")
    if data["excluded"]:
        click.echo()
        rows = [[e["name"], e["distribution"], f"kept out by {e['by']}"] for e in data["excluded"]]
        print_table(["plugin", "distribution", "why"], rows, "Not wanted")


def collect() -> dict[str, Any]:
    """Everything that is known about the plugins, with every hook asked."""
    from stkit.plugin.manager import KINDS, plugins

    manager = plugins()
    components: dict[str, dict[str, list[str]]] = {}
    for kind in KINDS:
        for spec in manager.specs(kind):
            components.setdefault(spec.plugin, {}).setdefault(kind, []).append(spec.name)
    loaded = [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "builtin": plugin.builtin,
            "hooks": list(plugin.hooks),
            "components": components.get(plugin.name, {}),
        }
        for plugin in manager.loaded
    ]
    failed = [
        {"name": f.plugin, "distribution": f.distribution, "stage": f.stage, "reason": f"{f.reason} ({f.stage})"}
        for f in manager.failures
    ]
    excluded = [{"name": c.name, "distribution": c.label, "by": by} for c, by in manager.excluded]
    return {"loaded": loaded, "failed": failed, "excluded": excluded}


def _brings(components: dict[str, list[str]]) -> str:
    return ", ".join(f"{len(names)} {kind}" for kind, names in components.items()) or "nothing"
