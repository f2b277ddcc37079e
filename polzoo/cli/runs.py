"""``polzoo runs``: trainings on disk."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)


@click.group("runs", short_help="List, compare and plot trainings.")
def command() -> None:
    """List, compare and plot trainings: folders that `polzoo train` writes into."""


@command.command("list")
@click.argument("root", type=FOLDER, required=False)
def listing(root: Path | None) -> None:
    """Every run below ROOT [default: runs]: how far it is, its last mean loss, its pace."""
    from polzoo.recipes.runs import find_runs, table

    place = root or Path("runs")
    found = find_runs(place) if root or place.is_dir() else []
    for line in table(found) if found else [f"no run below {place}: `polzoo train RECIPE` writes one"]:
        click.echo(line)


@command.command("compare")
@click.argument("folders", type=FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--what", default="loss", show_default=True, help="A number of the log: loss, epe, grad_norm, …")
def compare(folders: tuple[Path, ...], what: str) -> None:
    """Where the recipes of some RUNs differ, and a number of their logs at the same steps."""
    from polzoo.recipes.runs import comparison, open_run

    for line in comparison([open_run(folder) for folder in folders], what):
        click.echo(line)


@command.command("plot")
@click.argument("folders", type=FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--what", default="loss", show_default=True, help="A number of the log: loss, epe, grad_norm, …")
@click.option("--out", type=FOLDER, default="runs.png", show_default=True, help="PNG file to write.")
def plot(folders: tuple[Path, ...], what: str, out: Path) -> None:
    """A number of the logs of some RUNs over the steps, in one picture."""
    from polzoo.data.formats import write_image
    from polzoo.errors import PolzooError
    from polzoo.evaluation import plot as drawing
    from polzoo.recipes.runs import open_run

    curves = {str(folder): open_run(folder).curve(what) for folder in folders}
    values = sorted(value for curve in curves.values() for value in curve.values())
    if not values:
        raise PolzooError(f"{folders[0]} has logged nothing yet")
    last = max(step for curve in curves.values() for step in curve)
    apart = max(last // 200, min(min(curve, default=last) for curve in curves.values()))
    low, high = values[0], values[min(int(0.98 * len(values)), len(values) - 1)]  # the first losses are far above
    lines = [
        drawing.Line(name, [_at(curve, i * apart, apart) for i in range(1, last // apart + 1)])
        for name, curve in curves.items()
    ]
    picture = drawing.plot(lines, low=low, high=max(high, low + 1e-6), under=f"{what}, by {apart} steps")
    click.echo(write_image(out, picture))


def _at(curve: dict[int, float], step: int, apart: int) -> float | None:
    """The mean of what was logged in the steps up to ``step``, after the last point."""
    found = [value for at, value in curve.items() if step - apart < at <= step]
    return sum(found) / len(found) if found else None
