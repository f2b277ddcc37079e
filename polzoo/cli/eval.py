"""``polzoo eval``: figures of checkpoints, specs and baselines on a data set, by a protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from polzoo.cli.answer import answer, json_option
from polzoo.errors import PolzooError


@click.command("eval", short_help="Evaluate checkpoints, specs and baselines on a data set.")
@click.argument("models", metavar="MODEL...", nargs=-1)
@click.option("--protocol", metavar="NAME", help="A published protocol; see --list.")
@click.option(
    "--data",
    "sets",
    multiple=True,
    metavar="NAME|FOLDER|CSV",
    help="Pairs with true disparity; repeatable. With --protocol: the folder of its files.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pairs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for eval.json and report.html; resumes there.")
@json_option
@click.option("--iterations", type=click.IntRange(1, 1000), help="Refinement steps. [default: the checkpoint's own]")
@click.option("--metric", "metrics", multiple=True, help="A further registered metric, such as 'bad(threshold=0.5)'.")
@click.option("--device", default="cpu", show_default=True, help="Where models run; torchrun starts several processes.")
@click.option("--list", "listing", is_flag=True, help="List the protocols.")
@click.option("--compare", is_flag=True, help="Put results side by side: MODELs are eval.json files or their folders.")
@click.option(
    "--submission",
    metavar="BENCHMARK",
    help="Write the files that kitti12, kitti15, eth3d or middlebury wants, of one MODEL, into --out.",
)
def command(
    models: tuple[str, ...],
    protocol: str | None,
    sets: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    as_json: bool,
    iterations: int | None,
    metrics: tuple[str, ...],
    device: str,
    listing: bool,
    compare: bool,
    submission: str | None,
) -> None:
    """Compare MODELs side by side: checkpoints, specs (fresh weights), baselines such as 'sgbm-filled(block_size=3)'.

    \b
    polzoo eval MODEL... --protocol kitti15-train --data /data/kitti15 --out runs/eval
    polzoo eval MODEL... --data 'synthetic(seed=9000,length=50)'
    polzoo eval --compare runs/one runs/other
    torchrun --nproc_per_node 2 -m polzoo eval MODEL... --protocol synthetic-v1

    --data is a registered data set, a folder of pairs or a CSV file. What polarization is worth shows beside the same
    set with control='shuffled', where a pair is given the polarization of another, and, in synthetic, with
    analysers='none': plain RGB. With --out a run that was killed goes on where it was.
    """
    if listing:
        _refuse("--list", json=as_json)
        _list()
        return
    if not models:
        raise click.UsageError("Missing argument 'MODEL...'.", click.get_current_context())
    if compare:
        _refuse("--compare", protocol=protocol, data=sets, limit=limit, out=out, json=as_json, iterations=iterations)
        _refuse("--compare", metric=metrics, submission=submission)
        from polzoo.evaluation.report import compare as side_by_side

        click.echo(side_by_side([Path(name) for name in models]))
        return
    from polzoo.cli.predict import check_out

    if out is not None:
        check_out(out)
    if submission is not None:
        _refuse("--submission", protocol=protocol, limit=limit, json=as_json, metric=metrics)
        _submit(models, submission, sets, out, {"iterations": iterations, "device": device})
        return
    opened = list(_open(protocol, sets))
    if metrics and protocol:
        raise PolzooError(f"protocol {protocol!r} says which metrics there are; leave --metric out")
    options: dict[str, Any] = {"limit": limit, "iterations": iterations, "device": device, "progress": _bar}
    _evaluate(models, opened, metrics, out, as_json, options)


def _evaluate(
    models: tuple[str, ...],
    opened: list[tuple[Any, Any, str]],
    metrics: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from polzoo.data.files import write_bytes
    from polzoo.evaluation import report
    from polzoo.evaluation.evaluate import evaluate
    from polzoo.evaluation.protocol import METRICS

    chosen, results = (*METRICS, *metrics) if metrics else None, []
    for place, (rules, pairs, name) in enumerate(opened):
        folder = None if out is None else out / f"pairs-{place}" if place else out
        results.append(evaluate(models, pairs, data=name, protocol=rules, metrics=chosen, out=folder, **options))
    if _rank():
        return
    answer(report.text(results) if as_json else "\n\n".join(map(report.table, results)), nl=not as_json)
    if out is not None:
        click.echo(f"written: {report.write(results, out)}", err=True)
        page = _page(models, results, opened, options).encode()
        click.echo(f"written: {write_bytes(out / 'report.html', page)}", err=True)


def _page(models: tuple[str, ...], results: list[Any], opened: list[tuple[Any, Any, str]], options: Any) -> str:
    """The report, with the worst pairs predicted once more."""
    from polzoo.evaluation.html import render
    from polzoo.evaluation.methods import open_methods
    from polzoo.evaluation.pictures import worst
    from polzoo.evaluation.protocol import Protocol

    methods = open_methods(models, options["iterations"], options["device"])
    found = zip(results, opened, strict=True)
    return render([(one, worst(one, pairs, methods, rules or Protocol())) for one, (rules, pairs, _) in found])


def _refuse(mode: str, **given: Any) -> None:
    """A PolzooError for an option that would else be passed over in silence."""
    for name, value in given.items():
        if value:
            raise PolzooError(f"{mode} takes no --{name}")


def _list() -> None:
    from polzoo.evaluation.protocol import find, names, read

    width = max(map(len, names()))
    for name in names():
        found = read(find(name))
        click.echo(f"{name:{width}}  v{found.version}  {found.about}" + " (needs --data ROOT)" * found.root)


def _open(protocol: str | None, sets: tuple[str, ...]) -> Iterator[tuple[Any, Any, str]]:
    """(protocol or None, pairs, what to call them) of every data set."""
    from polzoo.evaluation.evaluate import open_data, open_protocol

    if protocol is not None:
        if len(sets) > 1:
            raise PolzooError(f"protocol {protocol!r} is of one data set; --data names its folder, once")
        rules, pairs = open_protocol(protocol, *sets)
        yield rules, pairs, rules.data
    elif not sets:
        raise click.UsageError("Missing option '--data' or '--protocol'.", click.get_current_context())
    for text in () if protocol else sets:
        pairs, name = open_data(text)
        yield None, pairs, name


def _rank() -> int:
    import os

    return int(os.environ.get("RANK", "0"))


def _bar(pairs: Iterable[Any], count: int) -> Iterator[Any]:
    """The pairs, with a progress bar on a terminal's stderr."""
    with click.progressbar(
        pairs, length=count, label="evaluating", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield from bar


def _submit(models: tuple[str, ...], benchmark: str, sets: tuple[str, ...], out: Path | None, options: Any) -> None:
    """Write a benchmark's files; everything is checked before anything is run."""
    from polzoo.evaluation.evaluate import open_rooted
    from polzoo.evaluation.methods import open_methods
    from polzoo.evaluation.submission import find, submit

    layout = find(benchmark)
    if len(models) != 1 or len(sets) != 1 or out is None:
        raise PolzooError("--submission takes one MODEL, --data ROOT of the benchmark's files, and --out FOLDER")
    pairs = [(spec, open_rooted(spec, sets[0])) for spec in layout.data]
    (method,) = open_methods(models, **options)
    click.echo(f"written: {submit(benchmark, method, pairs, out)}", err=True)
