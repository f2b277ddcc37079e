"""``polzoo study``: comparisons that take hours, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = 5  # arms in the figure


@click.group("study", short_help="Compare ways of training, hours at a time; the same command goes on.")
def command() -> None:
    """Compare ways of training on the same steps, scenes and learning rates."""


@command.command("pip")
@click.argument("model")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the study. [default: studies/pip-MODEL]")
@click.option("--stages", default="", metavar="N,N,…", help="Iterations, largest first. [default: halved down to 1]")
@click.option("--arms", default="", metavar="NAME;NAME;…", help="Some of the losses that are compared. [default: all]")
@click.option("--rates", default="1e-4,3e-4", show_default=True, metavar="X,X,…", help="Peak learning rates to try.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True, help="Of each stage of each cell.")
@click.option("--budget", type=click.FloatRange(0, min_open=True), default=1.0, help="Factor on the steps.")
@click.option("--batch-size", type=click.IntRange(1), default=2, show_default=True)
@click.option("--data", metavar="SPEC", help="Scenes for training.")
@click.option("--select", metavar="SPEC", help="Scenes on which rate and loss are chosen.")
@click.option("--report", metavar="SPEC", help="Scenes on which the figures are measured.")
@click.option("--workers", type=click.IntRange(0), default=1, show_default=True, help="Data loader processes.")
@click.option("--device", default="cpu", show_default=True)
def pip(model: str, out: Path | None, stages: str, arms: str, rates: str, budget: float, device: str, **given: Any):
    """Prune MODEL, a checkpoint, by every loss: EPE at each number of iterations against truncating it, and against
    plain fine-tuning on the truth.

    Writes a line per cell, the weights of every stage, results.json, results.md and results.png into --out. Stopped, it
    goes on from the last stage of a seed that was finished.
    """
    from polzoo.cli.train import terminable
    from polzoo.data.files import write_all
    from polzoo.data.formats import encode_image
    from polzoo.recipes.study import Plan, Study, halvings

    given |= {
        key: _numbers(text, kind) for key, text, kind in (("stages", stages, int), ("rates", rates, float)) if text
    }
    given |= {"arms": tuple(arm.strip() for arm in arms.split(";"))} if arms else {}
    given["steps"] = max(1, round(budget * given["steps"]))
    plan = Plan(model=model, **{key: value for key, value in given.items() if value is not None})
    plan = plan if plan.stages else halvings(plan)
    out = out or Path("studies") / f"pip-{Path(model).name}"
    with terminable():
        found = Study(plan, out, device=device, say=lambda line: click.echo(line, err=True)).run()
    text = "\n".join(table(found)) + "\n"
    write_all({out / "results.md": text.encode(), out / "results.png": encode_image(figure(found))})
    click.echo(text, nl=False)


def table(found: dict[str, Any]) -> Iterator[str]:
    """The summary in Markdown: EPE by arm and iterations, and what pruning takes away at the last stage."""
    cut, last = found["truncation"], list(found["truncation"])[-1]
    yield f"EPE in pixels on the scenes for the report, mean ± standard deviation of {found['plan']['seeds']} seeds,"
    yield f"{found['plan']['steps']} steps a stage; removed: the share of what truncation to {last} adds that is gone."
    yield ""
    yield "| loss | rate | " + " | ".join(f"{k}" for k in cut) + " | removed |"
    yield "|---|---|" + "---|" * len(cut) + "---|"
    yield "| truncation | – | " + " | ".join(f"{value:.3f}" for value in cut.values()) + " | 0 % |"
    for name, arm in found["arms"].items():
        mark = "**" if name == found["best"] else ""
        cells = " | ".join(f"{one['mean']:.3f} ± {one['sd']:.3f}" for one in arm["report"].values())
        removed = arm["removed"][last]
        share = f"{100 * removed['mean']:.0f} ± {100 * removed['sd']:.0f} %"
        yield f"| {mark}{name}{mark} | {arm['rate']:g} | – | {cells} | {share} |"
    yield ""
    yield f"Bold: the least error on the scenes for selection, `{found['plan']['select']}`."


def figure(found: dict[str, Any]) -> Any:
    """EPE over the stages: truncation, and the arms that did best on the scenes for selection."""
    from statistics import fmean

    from polzoo.evaluation.plot import Line, plot

    cut = list(found["truncation"].values())
    ranked = sorted(found["arms"].items(), key=lambda arm: fmean(one["mean"] for one in arm[1]["select"].values()))
    lines = [Line("truncation", cut)]
    lines += [Line(name, [None, *(o["mean"] for o in arm["report"].values())]) for name, arm in ranked[: SHOWN - 1]]
    values = [value for line in lines for value in line.values if value is not None]
    stages = ", ".join(map(str, found["truncation"]))
    return plot(lines, low=0.95 * min(values), high=1.05 * max(values), under=f"stage: {stages} iterations")


def _numbers(text: str, kind: type) -> tuple:
    from polzoo.errors import PolzooError, shorten

    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise PolzooError(f"{shorten(text)!r} is no list of numbers; write them as 8,4,2,1") from None
