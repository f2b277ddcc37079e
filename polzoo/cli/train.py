"""``polzoo train``: run a recipe file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click


@click.command(name="train")
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: runs/NAME]")
@click.option("--resume", is_flag=True, help="Go on from the newest saved state.")
@click.option("--stop-after", type=click.IntRange(1), help="Stop after this step; --resume goes on later.")
def command(recipe: str, out: Path | None, resume: bool, stop_after: int | None) -> None:
    """Train the model of RECIPE, a TOML file or the name of a shipped one, and write its checkpoint folder."""
    from polzoo.cli.predict import check_out
    from polzoo.recipes.config import find, read
    from polzoo.recipes.engine import train

    config = read(find(recipe))
    out = out or Path("runs") / config.name
    check_out(out)
    with terminable():
        written = train(config, out, resume=resume, stop_after=stop_after)
    click.echo(written)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM leaves the block as an exit with code 143: workers are closed, and --resume goes on from the last state.

    By default it ends the process on the spot, and the workers' semaphores are left for others to complain about.
    """

    def leave(*_: object) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
