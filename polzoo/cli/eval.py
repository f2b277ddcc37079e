"""``polzoo eval``: figures of checkpoints and baselines on a data set."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click


@click.command("eval", short_help="Evaluate a checkpoint or a baseline on a data set.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--data",
    "sets",
    required=True,
    multiple=True,
    metavar="NAME|FOLDER|CSV",
    help="Pairs with true disparity; repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pairs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write eval.json into.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--iterations", type=click.IntRange(1, 1000), help="Refinement steps. [default: the checkpoint's own]")
@click.option("--metric", "metrics", multiple=True, help="A further registered metric, such as 'bad(threshold=0.5)'.")
@click.option("--device", default="cpu", show_default=True, help="Where checkpoints run.")
def command(
    models: tuple[str, ...],
    sets: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    as_json: bool,
    iterations: int | None,
    metrics: tuple[str, ...],
    device: str,
) -> None:
    """Compare MODELs side by side: checkpoints, or baselines with options such as 'sgbm-filled(block_size=3)'.

    --data is a registered data set such as 'synthetic(seed=9000,length=50)', a folder of pairs or a CSV file. What
    polarization is worth shows beside the same set with control='shuffled', where a pair is given the polarization of
    another, and, in synthetic, with analysers='none': plain RGB.
    """
    from polzoo.cli.predict import check_out
    from polzoo.evaluation import report
    from polzoo.evaluation.evaluate import METRICS, evaluate, open_data

    if out is not None:
        check_out(out)
    options = {"limit": limit, "iterations": iterations, "metrics": (*METRICS, *metrics), "device": device}
    opened = [open_data(text) for text in sets]
    results = [evaluate(models, pairs, data=name, progress=_bar, **options) for pairs, name in opened]
    written = None if out is None else report.write(results, out)
    click.echo(report.text(results) if as_json else "\n\n".join(map(report.table, results)), nl=not as_json)
    if written is not None:
        click.echo(f"written: {written}", err=True)


def _bar(pairs: Iterable[Any], count: int) -> Iterator[Any]:
    """The pairs, with a progress bar on a terminal's stderr."""
    with click.progressbar(
        pairs, length=count, label="evaluating", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield from bar
