"""``polzoo convert``: an official checkpoint → a checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("convert", short_help="Convert an official checkpoint to a checkpoint folder.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--family", default="raft-stereo", show_default=True, help="Code base that the file comes from.")
@click.option(
    "--arg", "pairs", multiple=True, metavar="KEY=VALUE", help="An official argument; none: read from the weights."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Checkpoint folder to write. [default: the file's name without its suffix]",
)
def command(file: Path, family: str, pairs: tuple[str, ...], out: Path | None) -> None:
    """Convert an official checkpoint FILE (.pth or .safetensors) to a checkpoint folder."""
    from polzoo import checkpoint
    from polzoo.convert import convert, read_pth

    conversion = convert(read_pth(file), family, dict(map(_argument, pairs)) if pairs else None)
    model = conversion.model
    click.echo(f"spec        {model.spec}")
    click.echo(f"parameters  {sum(p.numel() for p in model.parameters()):,}")
    for what in conversion.assumed:
        click.echo(f"assumed     {what}; say --arg to change it")
    for key in conversion.dropped:
        click.echo(f"dropped     {key}")
    out = out or Path(file.stem)
    checkpoint.save(model, out, provenance={"note": f"converted from {file.name} ({family})"})
    click.echo(f"written     {out}")


def _argument(pair: str) -> tuple[str, Any]:
    """``n_gru_layers=2`` → its name and value; what is no JSON is text."""
    from polzoo.errors import PolzooError

    name, equals, text = pair.partition("=")
    if not equals:
        raise PolzooError(f"--arg takes KEY=VALUE, not {pair!r}")
    try:
        return name, json.loads({"True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return name, text
