"""``polzoo train``: run a recipe file, or say what it would take."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from polzoo.recipes.config import TrainingConfig


@click.command(name="train")
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: runs/NAME]")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a key: options.lr=1e-4.")
@click.option("--resume", is_flag=True, help="Go on from the newest saved state.")
@click.option("--stop-after", type=click.IntRange(1), help="Stop after this step; --resume goes on later.")
@click.option("--nproc", type=click.IntRange(1), help="Processes on this machine, one for each GPU (torchrun).")
@click.option("--dry-run", is_flag=True, help="Take three steps on one batch and say what the whole run would take.")
def command(
    recipe: str,
    out: Path | None,
    changes: tuple[str, ...],
    resume: bool,
    stop_after: int | None,
    nproc: int | None,
    dry_run: bool,
) -> None:
    """Train the model of RECIPE, a TOML file or the name of a shipped one, and write its checkpoint folder."""
    from polzoo.cli.predict import check_out
    from polzoo.errors import PolzooError
    from polzoo.recipes.config import find, read
    from polzoo.recipes.inherit import settings

    config = read(find(recipe), settings(changes))
    out = out or Path("runs") / config.name
    check_out(out)
    if dry_run:
        _report(config, out, resume, nproc or int(os.environ.get("WORLD_SIZE", "1")))
        return
    if nproc is not None and "WORLD_SIZE" in os.environ:
        raise PolzooError("--nproc starts torchrun, and this is a process of torchrun already; leave it out")
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    with terminable():
        if nproc is not None and nproc > 1:
            from polzoo.recipes.launch import torchrun

            said = [part for change in changes for part in ("--set", change)] + ["--resume"] * resume
            said += [] if stop_after is None else ["--stop-after", str(stop_after)]
            torchrun(nproc, ["train", recipe, "--out", str(out), *said])
            return
        from polzoo.recipes.chain import prune
        from polzoo.recipes.engine import train

        run = prune if config.stages else train
        written = run(config, out, resume=resume or restarted, stop_after=stop_after)
    if os.environ.get("RANK", "0") == "0":
        click.echo(written)


def _report(config: TrainingConfig, out: Path, resume: bool, world: int) -> None:
    """Say what the run would take; of a chain, what its stages are and what the next one would take."""
    click.echo(f"dry run of {config.name}: loading it, then three steps on one batch", err=True)
    from polzoo.recipes.chain import next_stage
    from polzoo.recipes.dry_run import dry_run

    config, out, chain = next_stage(config, out) if config.stages else (config, out, [])
    for line in itertools.chain(chain, dry_run(config, out if resume else None, world)):
        click.echo(line)


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
