"""``polzoo bench``: what a model costs, alone, beside another, or beside an earlier run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

SMALLEST, LARGEST = 8, 8192
"""Height and width that a benchmark takes, pixels."""


class Size(click.ParamType):
    """``320x736``: height × width."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        sides = value.lower().replace("×", "x").split("x")
        if len(sides) != 2 or not all(side.isascii() and side.isdigit() for side in sides):
            self.fail(f"{value!r} is no height and width such as 320x736", param, ctx)
        height, width = map(int, sides)
        if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
            self.fail(f"{value!r}: each side must have {SMALLEST} to {LARGEST} pixels", param, ctx)
        return height, width


class ModelFirst(click.Group):
    """A group whose first word is a model, unless it is one of the group's commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else ["model", *args])


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every measurement takes."""
    found = [
        click.option("--size", type=Size(), default="320x736", show_default=True, help="Height and width of the pair."),
        click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="CPU threads."),
        click.option(
            "--dtype",
            type=click.Choice(["float32", "float16", "bfloat16"]),
            default="float32",
            show_default=True,
            help="Type of weights and images.",
        ),
        click.option("--device", default="cpu", show_default=True, help="Where the models run."),
        click.option(
            "--rounds", type=click.IntRange(3, 1000), default=5, show_default=True, help="Rounds that are measured."
        ),
        click.option(
            "--warmup", type=click.IntRange(1, 1000), default=1, show_default=True, help="Rounds before these."
        ),
        click.option(
            "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of fresh weights."
        ),
        click.option("--json", "out", type=click.Path(path_type=Path), help="Also write everything to this JSON file."),
    ]
    for option in reversed(found):
        command = option(command)
    return command


@click.group("bench", cls=ModelFirst, short_help="Measure time, memory and operations of models.")
def command() -> None:
    """Measure what models cost.

    \b
    polzoo bench MODEL                  one model; the options: polzoo bench model --help
    polzoo bench MODEL --against OTHER  two models that take turns
    polzoo bench fusions                every fusion against none
    polzoo bench flashgru               the sparse recurrent part against dense forms
    polzoo bench history FILE...        results of earlier runs
    """


@command.command("model")
@click.argument("model")
@options
@click.option("--iterations", type=click.IntRange(1, 1000), help="Refinement steps. [default: each model's own]")
@click.option(
    "--against",
    metavar="MODEL|plain|FILE",
    help="A second model, measured in turn; 'plain': the same one as it is trained; or a JSON of an earlier run.",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the models with torch.compile.")
@click.option(
    "--images", nargs=2, metavar="LEFT RIGHT", help="Measure on these, resized, where the time follows what is seen."
)
def model(model: str, iterations: int | None, against: str | None, compiled: bool, **given: Any) -> None:
    """Time, memory, parameters and operations of MODEL: a checkpoint, or a spec such as 'raft+v2c' with fresh weights.

    Times are medians over rounds; of two models, they take turns (A B, B A, …) and every round gives a ratio. The peak
    counts live tensors besides weights and images, in a process of its own.
    """
    out = _out(given.pop("out"))
    from polzoo.evaluation.benchmark import bench
    from polzoo.evaluation.benchmark_report import table

    setting = _setting(**given, compile=compiled)
    result = bench(model, setting, iterations=iterations, against=against, command=command_line(), progress=_tell)
    _write(result, out)
    click.echo(table(result))


@command.command("fusions")
@options
@click.option("--backbone", default="raft-lite", show_default=True, help="A backbone with its options.")
@click.option("--iterations", type=click.IntRange(1, 1000), default=8, show_default=True, help="Refinement steps.")
@click.option("--only", multiple=True, metavar="NAME", help="This fusion; repeatable. [default: all that there are]")
@click.option(
    "--page", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Renew the table on this page."
)
def fusions(backbone: str, iterations: int, only: tuple[str, ...], page: Path | None, **given: Any) -> None:
    """Every fusion against none on one backbone: parameters, time and memory, each in turn with a run of none."""
    out = _out(given.pop("out"))
    from polzoo.evaluation import benchmark_page
    from polzoo.evaluation.benchmark_fusions import bench_fusions, table

    if page is not None:
        benchmark_page.check_page(page, backbone, only)
    options = {"backbone": backbone, "iterations": iterations, "only": only}
    result = bench_fusions(_setting(**given), **options, command=command_line(), progress=_tell)
    _write(result, out)
    if page is not None:
        benchmark_page.renew(page, result)
    click.echo(table(result))


def flashgru_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What ``polzoo bench flashgru`` takes; what is left out is as published."""
    found = [
        click.option(
            "--part", "parts", multiple=True, type=click.Choice(["step", "table"]), help="Only this; repeatable."
        ),
        click.option(
            "--size", "sizes", multiple=True, type=Size(), help="Of the images; repeatable. [default: paper's]"
        ),
        click.option("--density", "densities", multiple=True, type=click.FloatRange(0, 1, min_open=True)),
        click.option(
            "--image",
            "images",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False),
            help="Its edges are the masks; the table takes the first. [default: the bundled one]",
        ),
        click.option("--channels", type=click.IntRange(8, 1024), help="Of the hidden state. [default: 128]"),
        click.option("--device", help="[default: cpu]"),
        click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="[default: float32]"),
        click.option("--backend", type=click.Choice(["auto", "naive", "sparse", "triton"]), help="[default: auto]"),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: 2]"),
        click.option("--rounds", type=click.IntRange(1, 1000), help="That are measured, after one. [default: 5]"),
        click.option("--seconds", type=float, help="Begin no further form after so long. [default: 3600]"),
        click.option("--compile/--no-compile", default=True, show_default=True, help="Also the compiled dense forms."),
    ]
    for option in reversed(found):
        command = option(command)
    return command


@command.command("flashgru")
@flashgru_options
@click.option("--json", "out", type=click.Path(path_type=Path), help="Also write everything to this JSON file.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw time over size to this PNG file.")
@click.option("--page", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Renew the tables there.")
@click.option("--profile", metavar="FORM", help="Run this form once for a GPU's profiler, and nothing else.")
def flashgru(
    out: Path | None, figure: Path | None, page: Path | None, profile: str | None, parts: tuple[str, ...], **given: Any
) -> None:
    """FlashGRU against dense forms of the same recurrent part (Pip-Stereo's Table 4), and one step of its finest unit.

    Time, peak memory, counted bytes; each over the eager native form and over the fastest dense one. --part, --size,
    --density and --image may be repeated. Whole models: polzoo bench 'igev+flashgru(density=0.2)' --against igev.
    """
    out = _out(out)
    from polzoo.evaluation import benchmark_flashgru_report as report
    from polzoo.evaluation import page as marked
    from polzoo.evaluation.benchmark_flashgru import FlashSetting, bench_flashgru, profiled

    setting = FlashSetting(**{name: value for name, value in given.items() if value not in (None, ())})
    if profile is not None:
        return profiled(profile, setting)
    if page is not None:
        marked.around(page, report.MARKS)
    result = bench_flashgru(setting, parts or ("step", "table"), command=command_line(), progress=_tell)
    _write(result, out)
    if figure is not None:
        report.figure(result, figure)
    if page is not None:
        marked.renew(page, report.MARKS, report.markdown(result))
    click.echo(report.table(result))


@command.command("history")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def history(files: tuple[Path, ...]) -> None:
    """Compare the results in FILES (polzoo bench MODEL --json FILE), oldest first."""
    from polzoo.evaluation.benchmark_report import history

    click.echo(history(files))


def _setting(size: tuple[int, int], **given: Any) -> Any:
    from polzoo.evaluation.benchmark_result import Setting

    return Setting(height=size[0], width=size[1], **given)


def _out(path: Path | None) -> Path | None:
    """The file to write, checked before anything is measured."""
    from polzoo.cli.predict import check_out
    from polzoo.errors import PolzooError

    if path is not None:
        check_out(path.parent)
        if path.is_dir():
            raise PolzooError(f"--json {path} is a folder; name a file")
    return path


def _write(result: Any, out: Path | None) -> None:
    from polzoo.data.files import write_bytes
    from polzoo.evaluation.benchmark_result import text

    if out is not None:
        write_bytes(out, text(result).encode())
        click.echo(f"written: {out}", err=True)


def command_line() -> str:
    """This process's own command, to be noted beside its figures."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _tell(line: str) -> None:
    """What is being done, on a terminal's stderr."""
    if sys.stderr.isatty():
        click.echo(line, err=True)
