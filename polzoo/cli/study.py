"""``polzoo study``: comparisons that take hours, resumable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = click.Path(path_type=Path)


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
@click.option("--json", "json_file", type=FILE, help="Put the results there too, with date and versions.")
@click.option("--page", type=FILE, help="Renew the tables on this page, between the marks with MODEL's name.")
def pip(
    model: str,
    out: Path | None,
    stages: str,
    arms: str,
    rates: str,
    budget: float,
    device: str,
    json_file: Path | None,
    page: Path | None,
    **given: Any,
):
    """Prune MODEL, a checkpoint, by every loss: EPE at each number of iterations against truncating it, and against
    plain fine-tuning on the truth.

    Writes a line per cell, the weights of every stage, results.json, results.md and results.png into --out. Stopped, it
    goes on from the last stage of a seed that was finished; finished, it writes its results again.
    """
    from polzoo.cli.train import terminable
    from polzoo.data.files import write_all
    from polzoo.data.formats import encode_image
    from polzoo.errors import PolzooError
    from polzoo.evaluation import page as marked
    from polzoo.recipes.study import Plan, Study, halvings

    marks = f"<!-- tables: polzoo study pip {model} -->", "<!-- end of the tables -->"
    if page:
        marked.around(page, marks)
    given |= {
        key: _numbers(text, kind) for key, text, kind in (("stages", stages, int), ("rates", rates, float)) if text
    }
    given |= {"arms": tuple(arm.strip() for arm in arms.split(";"))} if arms else {}
    if not math.isfinite(budget):
        raise PolzooError(f"--budget is a finite factor above 0, not {budget:g}")
    given["steps"] = max(1, round(budget * given["steps"]))
    plan = Plan(model=model, **{key: value for key, value in given.items() if value is not None})
    plan = plan if plan.stages else halvings(plan)
    out = out or Path("studies") / f"pip-{Path(model).name}"
    with terminable():
        found = Study(plan, out, device=device, say=lambda line: click.echo(line, err=True)).run()
    text = "\n".join(tables(found)) + "\n"
    write_all({out / "results.md": text.encode(), out / "results.png": encode_image(figure(found))})
    if json_file:
        write_all({json_file: _record(found)})
    if page:
        marked.renew(page, marks, text.rstrip())
    click.echo(text, nl=False)


def tables(found: dict[str, Any]) -> Iterator[str]:
    """The summary in Markdown: EPE by arm and iterations, what pruning takes away at the last stage, what it is
    against the first arm, and where the error lies."""
    plan, arms, cut = found["plan"], found["arms"], found["truncation"]["all"]
    full, *stages = cut
    last, first = stages[-1], next(iter(arms))
    yield f"EPE in pixels on `{plan['report']}`, mean ± standard deviation of {plan['seeds']} seeds,"
    yield f"{plan['steps']} steps a stage of batch {plan['batch_size']}, rates {_listed(plan['rates'])};"
    yield f"removed: the share of what truncation to {last} adds that is gone. Bold: of the losses that imitate,"
    yield f"the best on `{plan['select']}`."
    yield ""
    yield from _head("loss", "rate", *cut, "removed")
    yield _row("truncation", "–", *(f"{value:.3f}" for value in cut.values()), "0 %")
    yield _row(f"stopped early, of {full}", "–", *(f"{value:.3f}" for value in found["stopped"]["all"].values()), "–")
    for name, arm in arms.items():
        epe, share = arm["report"]["all"], _spread(arm["removed"][last], ".0f", 100) + " %"
        yield _row(_marked(name, found), f"{arm['rate']:g}", *(_spread(epe.get(k)) for k in cut), share)
    yield ""
    yield f"Above `{first}` on the same seed, pixels (below 0 is better):"
    yield ""
    yield from _head("loss", *stages)
    for name, arm in arms.items():
        if name != first:
            yield _row(_marked(name, found), *(_spread(arm["against"][k], "+.3f") for k in stages))
    yield ""
    yield f"At {last}, where the model of {full} iterations is right (within 1 px, {100 * found['right']:.0f} % of the"
    yield "pixels) and where it is wrong; apart: mean distance to that model's own disparity."
    yield ""
    yield from _head("loss", "right", "wrong", "apart")
    parts = "right", "wrong", "apart"
    yield _row("truncation", *(_number(found["truncation"][part][last]) for part in parts))
    for name, arm in arms.items():
        yield _row(_marked(name, found), *(_spread(arm["report"][part][last]) for part in parts))


def _head(*cells: Any) -> Iterator[str]:
    yield _row(*cells)
    yield "|" + "---|" * len(cells)


def _row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _marked(name: str, found: dict[str, Any]) -> str:
    return f"**{name}**" if name == found["best"] else name


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else f"{value:{form}}"


def _spread(one: dict[str, float | None] | None, form: str = ".3f", scale: float = 1.0) -> str:
    """A mean with its standard deviation, where there are several seeds."""
    if one is None or one["mean"] is None:
        return "–"
    return f"{scale * one['mean']:{form}}" + ("" if one["sd"] is None else f" ± {scale * one['sd']:{form.lstrip('+')}}")


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _record(found: dict[str, Any]) -> bytes:
    """The results with when and with which versions they were put down."""
    import json

    from polzoo.evaluation.report import made

    return (json.dumps(made() | found, indent=1, ensure_ascii=False) + "\n").encode()


def figure(found: dict[str, Any]) -> Any:
    """EPE over the stages: truncation, the first arm, the paper's and the best that imitates, by the other scenes."""
    from polzoo.evaluation.plot import Line, plot

    arms, cut = found["arms"], found["truncation"]["all"]
    shown = {name: name for name in (next(iter(arms)), "paper") if name in arms} | {found["best"]: "best"}
    lines = [Line("truncation", list(cut.values()))]
    for name, label in shown.items():
        epe = arms[name]["report"]["all"]
        lines.append(Line(label, [epe[k]["mean"] if k in epe else None for k in cut]))
    values = [value for line in lines for value in line.values if value is not None]
    stages = ", ".join(map(str, cut))
    return plot(lines, low=0.95 * min(values), high=1.05 * max(values), under=f"stage: {stages} iterations")


def _numbers(text: str, kind: type) -> tuple:
    from polzoo.errors import PolzooError, shorten

    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise PolzooError(f"{shorten(text)!r} is no list of numbers; write them as 8,4,2,1") from None
