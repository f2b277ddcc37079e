"""``polzoo plugins``: what is installed, from which distribution, and what went wrong."""

from __future__ import annotations

import json
from typing import Any

import click

from polzoo.cli.answer import answer, json_option
from polzoo.cli.app import COMMANDS
from polzoo.components import KINDS
from polzoo.registry import PluginInfo, registry


@click.command("plugins", short_help="List plugins, what they bring and their errors.")
@json_option
def command(as_json: bool) -> None:
    """List the plugins with the components they bring and their errors.

    POLZOO_PLUGINS=a,b uses only these (empty: none); POLZOO_STRICT=1 raises a plugin's error with its traceback.
    """
    registry().commands(taken=COMMANDS)
    plugins = [_row(info) for info in registry().plugins]
    if as_json:
        answer(json.dumps(plugins, indent=1, ensure_ascii=False))
        return
    for row in plugins:
        origin = f" ({row['distribution']} {row['version']})".replace(" )", ")") if row["distribution"] else ""
        click.echo(f"{row['name']}{origin}")
        for kind, names in row["components"].items():
            click.echo(f"  {KINDS[kind]}: {', '.join(names)}")
        if row["commands"]:
            click.echo(f"  commands: {', '.join(row['commands'])}")
        if row["heavy"]:
            click.echo(f"  slow: imports {', '.join(row['heavy'])} before it is used")
        if row["error"]:
            click.echo(f"  error: {row['error']}")


def _row(info: PluginInfo) -> dict[str, Any]:
    components: dict[str, list[str]] = {}
    for entry in info.components:
        components.setdefault(entry.kind, []).append(entry.key)
    return {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "components": components,
        "commands": list(info.commands),
        "heavy": list(info.heavy),
        "error": info.error,
    }
