"""``polzoo data``: check, count and look at a data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from polzoo.cli.answer import answer, json_option

DATASET = click.argument("dataset", metavar="NAME|FOLDER|CSV")
LIMIT = click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pairs.")


@click.group("data", short_help="Check, count and look at a data set.")
def command() -> None:
    """Check a data set, count what is in it, or look at a pair.

    A data set is a registered one such as 'synthetic(seed=1,length=50)', a folder of pairs or a CSV file.
    """


@command.command("check", short_help="Find what is wrong with a data set; exit code 1 if anything is.")
@DATASET
@LIMIT
@json_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report.html, with pictures, and report.json.")
def check_command(dataset: str, limit: int | None, as_json: bool, out: Path | None) -> int:
    """Read every pair of a data set and say what is wrong with it.

    Found are files that cannot be read or are cut off, sizes that differ, NaN and other strange values, empty masks,
    pairs that are there twice, and disparities that do not fit the views: of the wrong sign, unit or offset, with the
    views exchanged or not rectified; with glass known, also analysers the other way round.

    The exit code is 1 if anything is wrong, 0 if not.
    """
    import json

    from polzoo.cli.predict import check_out
    from polzoo.data.check import as_json as jsonable
    from polzoo.data.check import check
    from polzoo.data.files import write_all
    from polzoo.evaluation.data_page import page, text
    from polzoo.evaluation.evaluate import open_data

    if out is not None:
        check_out(out)
    pairs, name = open_data(dataset)
    report = check(pairs, limit=limit, progress=_bar("checking"))
    found = json.dumps(jsonable(report, name), indent=1, ensure_ascii=False)
    if out is not None:
        for path in write_all({out / "report.html": page(report, pairs, name), out / "report.json": found.encode()}):
            click.echo(f"written: {path}", err=True)
    answer(found if as_json else text(report, name))
    return 1 if report.problems else 0


@command.command("stats", short_help="Sizes, disparities, what is known, and how bright the views are.")
@DATASET
@LIMIT
@json_option
def stats_command(dataset: str, limit: int | None, as_json: bool) -> None:
    """Count what is in a data set."""
    import json

    from polzoo.data.stats import stats, table
    from polzoo.evaluation.evaluate import open_data

    pairs, name = open_data(dataset)
    found = {"data": name, **stats(pairs, limit=limit, progress=_bar("counting"))}
    answer(json.dumps(found, indent=1, ensure_ascii=False) if as_json else f"{name}\n{table(found)}")


@command.command("show", short_help="Draw one pair with all that is known of it.")
@DATASET
@click.argument("index", type=click.IntRange(min=0))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The picture, a PNG.")
def show_command(dataset: str, index: int, out: Path) -> None:
    """Draw pair INDEX (from 0): views, disparity, how far the views differ under it, and masks."""
    from polzoo.data.formats import write_image
    from polzoo.errors import PolzooError
    from polzoo.evaluation.data_page import picture
    from polzoo.evaluation.evaluate import open_data

    if out.suffix.lower() != ".png":
        raise PolzooError(f"--out {out}: the picture is a PNG, so its name must end in .png")
    pairs, name = open_data(dataset)
    if index >= len(pairs):
        raise PolzooError(f"there is no pair {index} in {name}; it has {len(pairs)}, from 0 to {len(pairs) - 1}")
    sample = pairs[index]
    click.echo(write_image(out, picture(sample, sample.name)))


def _bar(label: str) -> Callable[[Iterable[Any], int], Iterator[Any]]:
    """A progress bar on a terminal's stderr."""

    def shown(pairs: Iterable[Any], count: int) -> Iterator[Any]:
        hidden = not sys.stderr.isatty()
        with click.progressbar(pairs, length=count, label=label, file=sys.stderr, hidden=hidden) as bar:
            yield from bar

    return shown
