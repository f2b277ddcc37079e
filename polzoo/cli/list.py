"""``polzoo list``: what is there, by kind."""

from __future__ import annotations

import json

import click

from polzoo.cards import checkpoints, recipe_summary, recipes
from polzoo.cli.answer import answer, json_option
from polzoo.components import KINDS, OURS, Entry, kind_of, matches
from polzoo.errors import unknown
from polzoo.registry import registry

Row = dict[str, str]

RECIPE_FILE = "recipe-file"
HEADINGS = {**KINDS, RECIPE_FILE: "recipe files (polzoo train NAME)"}


@click.command("list", short_help="List components and checkpoints.")
@click.argument("kind", required=False)
@click.argument("pattern", required=False)
@json_option
def command(kind: str | None, pattern: str | None, as_json: bool) -> None:
    """List components and checkpoints: all, those of one KIND (fusion, checkpoints, …), or those fitting a PATTERN.

    Recipes come with the files that `polzoo train NAME` takes. PATTERN is a glob, or part of a name:
    polzoo list fusions 'v2*'
    """
    if kind and not pattern and kind not in KINDS and kind not in KINDS.values():
        rows = _rows(None, kind)
        if not rows:
            raise unknown("kind or name", kind, KINDS)
    else:
        rows = _rows(kind_of(kind) if kind else None, pattern)
    if as_json:
        answer(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        _print(rows)
    failed = [info.name for info in registry().plugins if info.error]
    if failed:
        click.echo(f"polzoo: plugins with errors: {', '.join(failed)}; see polzoo plugins", err=True)


def _rows(kind: str | None, pattern: str | None) -> list[Row]:
    """Components and checkpoints that fit, kind by kind."""
    found: list[Row] = []
    for one in KINDS if kind is None else (kind,):
        items = checkpoints(pattern) if one == "checkpoint" else registry().entries(one, pattern)
        for item in items:
            name = item.key if isinstance(item, Entry) else item.name
            found.append(
                {
                    "kind": one,
                    "name": name,
                    "licence": item.licence,
                    "summary": item.summary,
                    "distribution": item.distribution,
                }
            )
    return found + (_recipe_files(pattern) if kind in (None, "recipe") else [])


def _recipe_files(pattern: str | None) -> list[Row]:
    return [
        {
            "kind": RECIPE_FILE,
            "name": name,
            "licence": "",
            "summary": recipe_summary(file),
            "distribution": OURS,
        }
        for name, file in recipes().items()
        if pattern is None or matches(name, pattern)
    ]


def _print(rows: list[Row]) -> None:
    if not rows:
        click.echo("nothing fits")
    for kind, heading in HEADINGS.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        if of_kind:
            click.echo(heading)
        name_width = max((len(row["name"]) for row in of_kind), default=0)
        licence_width = max((len(row["licence"]) for row in of_kind), default=0)
        for row in of_kind:
            origin = "" if row["distribution"] in ("", OURS) else f" [{row['distribution']}]"
            licence = f"{row['licence']:{licence_width}}  " if licence_width else ""
            click.echo(f"  {row['name']:{name_width}}  {licence}{row['summary']}{origin}".rstrip())
