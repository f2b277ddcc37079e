"""``polzoo analyze``: where a model still moves, iteration by iteration."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from polzoo.cli.answer import answer, json_option


class Thresholds(click.ParamType):
    """``0.01,0.05,0.25``."""

    name = "PX,PX,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(item) for item in value.split(","))
        except ValueError:
            self.fail(f"{value!r} are no numbers of pixels such as 0.01,0.05,0.25", param, ctx)


@click.command("analyze", short_help="Show where a model still moves, iteration by iteration.")
@click.argument("model")
@click.argument("pair", nargs=-1, metavar="[LEFT RIGHT]", type=click.Path(path_type=Path))
@click.option("--data", metavar="NAME|FOLDER|CSV", help="A data set instead of LEFT and RIGHT.")
@click.option("--limit", type=click.IntRange(min=1), help="With --data: only the first so many pairs.")
@click.option("--truth", type=click.Path(path_type=Path), help="True disparity of LEFT.")
@click.option("--polarity", help="Analysers of LEFT and RIGHT. [default: the model's own]")
@click.option("--iterations", type=click.IntRange(1, 1000), help="Refinement steps. [default: the model's own]")
@click.option(
    "--thresholds", type=Thresholds(), default="0.01,0.05,0.25", show_default=True, help="A pixel moves above these."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for analysis.png and analysis.json.")
@json_option
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of fresh weights.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs.")
def command(
    model: str,
    pair: tuple[Path, ...],
    data: str | None,
    limit: int | None,
    truth: Path | None,
    polarity: str | None,
    iterations: int | None,
    thresholds: tuple[float, ...],
    out: Path | None,
    as_json: bool,
    seed: int,
    device: str,
) -> None:
    """Follow the steps of MODEL, a checkpoint or a spec with fresh weights, on a pair or a data set.

    Per iteration: the share of pixels that move by more than a threshold, how far that map agrees with the one before
    (share of equal flags, intersection over union), and the error where the truth is known.
    """
    from polzoo.cli.bench import command_line
    from polzoo.cli.predict import check_out
    from polzoo.evaluation import analyze as found
    from polzoo.evaluation.subject import open_subject

    if out is not None:
        check_out(out)
    _check_source(pair, data, {"--limit": limit}, {"--truth": truth, "--polarity": polarity})
    found.checked(thresholds)
    subject = open_subject(model, seed)
    own = subject.model.settings.input.analysers
    samples, name = _data(data, limit) if data else ([_sample(pair[0], pair[1], truth, polarity or own)], pair[0].name)
    options = {"thresholds": thresholds, "iterations": iterations, "device": device, "command": command_line()}
    _show(found.analyze(subject, samples, data=name, **options), out, as_json)


def _check_source(pair: tuple[Path, ...], data: str | None, of_data: dict[str, Any], of_pair: dict[str, Any]) -> None:
    """Either LEFT and RIGHT or --data, with the options that belong to it."""
    from polzoo.errors import PolzooError

    if len(pair) != (0 if data else 2):
        raise PolzooError("give either LEFT and RIGHT, two views of one pair, or --data, a data set")
    for option, value in (of_pair if data else of_data).items():
        if value is not None:
            raise PolzooError(f"{option} belongs to {'LEFT and RIGHT' if data else '--data'} and has no effect here")


def _data(text: str, limit: int | None) -> tuple[Iterable[Any], str]:
    """The first pairs of a data set, and its full name."""
    from polzoo.evaluation.evaluate import open_data

    pairs, name = open_data(text)
    return (pairs[i] for i in range(min(limit or len(pairs), len(pairs)))), name


def _sample(left: Path, right: Path, truth: Path | None, polarity: str) -> Any:
    """A pair from files."""
    from polzoo.data.formats import read_disparity
    from polzoo.data.sample import Sample
    from polzoo.errors import PolzooError
    from polzoo.predict import as_image, as_polarity

    sign, views = as_polarity(polarity), (as_image(left, "left"), as_image(right, "right"))
    if views[0].shape != views[1].shape:
        sizes = " and ".join(f"{view.shape[2]}×{view.shape[1]}" for view in views)
        raise PolzooError(f"left and right are {sizes} pixels; a rectified pair has one size")
    if truth is None:
        return Sample(*views, sign or 0.0, name=left.name)
    disparity, valid = read_disparity(truth)
    if disparity.shape != views[0].shape[1:]:
        raise PolzooError(f"--truth {truth} is {disparity.shape[1]}×{disparity.shape[0]} pixels, which left is not")
    return Sample(*views, sign or 0.0, disparity[None], valid[None], name=left.name)


def _show(analysis: Any, out: Path | None, as_json: bool) -> None:
    """Write both files, or none, and print the table or the JSON."""
    from polzoo.data.files import write_all
    from polzoo.data.formats import encode_image
    from polzoo.evaluation.analyze_report import picture, table
    from polzoo.evaluation.benchmark_result import text

    json = text(analysis)
    if out is not None:
        files: dict[str | os.PathLike[str], bytes] = {
            out / "analysis.png": encode_image(picture(analysis)),
            out / "analysis.json": json.encode(),
        }
        for path in write_all(files):
            click.echo(f"written: {path}", err=True)
    answer(json if as_json else table(analysis), nl=not as_json)
