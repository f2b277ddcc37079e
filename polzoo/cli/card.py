"""``polzoo card``: a checkpoint's model card, made from its files."""

from __future__ import annotations

import click

from polzoo.errors import PolzooError


@click.command("card", short_help="Print a checkpoint's model card, made from its files.")
@click.argument("name")
@click.option("--write", is_flag=True, help="Write it to README.md in the checkpoint's folder instead.")
def command(name: str, write: bool) -> None:
    """Print the model card of NAME, a published model, a folder or org/name on the Hub.

    It is made from config.json, recipe.toml and eval.json; what stands between its two marks is yours and stays.
    """
    from polzoo.config import CARD, is_snapshot
    from polzoo.data.files import write_bytes
    from polzoo.model_card import render
    from polzoo.names import find

    folder = find(name)
    text = render(folder, name.removeprefix("hf:"))
    if write and is_snapshot(folder):
        raise PolzooError(f"{name} lies in the Hub's cache, which stays as it was fetched; name a folder of your own")
    if write:
        click.echo(write_bytes(folder / CARD, text.encode()))
    else:
        click.echo(text, nl=False)
