"""``polzoo new-plugin``: a package to start from."""

from __future__ import annotations

from pathlib import Path

import click

from polzoo.components import with_article
from polzoo.scaffold import KINDS_TO_MAKE, make


@click.command("new-plugin", short_help="Write a plugin package to start from.")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS_TO_MAKE), required=True, help="What the package adds to the zoo.")
@click.option("--into", type=click.Path(path_type=Path), default=".", help="The folder to write it into.")
def command(name: str, kind: str, into: Path) -> None:
    """Write the package NAME: a component that works, its options, its contract test and a README. Needs no network.

    NAME is lower-case words joined by dashes; what it registers is NAME without a leading 'polzoo-'.
    """
    folder = make(name, kind, into)
    click.echo(f"{folder}: {with_article(kind)} that works\n")
    click.echo(f"  cd {folder}\n  pip install -e '.[test]' && pytest\n  polzoo plugins")
