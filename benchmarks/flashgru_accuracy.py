"""What leaving pixels out costs: EPE against density, by importance, iterations and dense first iterations.

    python benchmarks/flashgru_accuracy.py polstereo-nano pipstereo-i8 \
      --out benchmarks/results/flashgru_accuracy.json --figure docs/flashgru-accuracy.png

On rendered scenes of a fixed seed, by the backend ``naive``, which is what every other one computes. Then a model is
trained under the best mask at each number of iterations, and a dense one as long, which it is compared with. A row that
is there is kept, so a run goes on where one was ended. ``--settle`` writes what follows into the checkpoint's folder.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import record  # pyright: ignore[reportMissingImports]
import torch

import polzoo
from polzoo import checkpoint, model_card
from polzoo.config import CARD, CONFIG, config_text, read_alias, read_config
from polzoo.data.files import read_bytes, write_all
from polzoo.data.formats import write_image
from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError
from polzoo.evaluation.machine import hardware
from polzoo.evaluation.plot import Line, plot
from polzoo.execution import COST, MOST, Row, execution, refined
from polzoo.model import Prepared, StereoModel
from polzoo.names import find, follow
from polzoo.recipes import config as recipes
from polzoo.recipes.engine import train
from polzoo.registry import registry
from polzoo.spec import format_part, parse_part
from polzoo.zoo import instantiate, make_operator

SEED = 8001
"""Of the scenes that are measured on; no recipe trains on them, and the published protocols have others."""

TRAINING = {
    "warmup": 0.1,
    "precision": "bf16",
    "pictures_every": 0,
    "save_every": 100,
    "options": {"lr": 2e-4, "pol_lr_mult": 1.0, "glass_weight": 2.0, "pol_weight": 0.0},
}
"""Fine-tuning: the published models' loss, every parameter trained."""

TRAINED_ON = "synthetic(seed=31,length=100000)"
"""Scenes of the same kind and size, of another seed."""

Setting = dict[str, Any]
KEYS = ("iterations", "importance", "dense_steps", "density", "tuned")


# --------------------------------------------------------------------------------------------------------- measuring


class Scenes:
    """A model's encodings of some scenes, made once, and refined under one mask after another."""

    def __init__(self, model: StereoModel, samples: list[Sample], iterations: int) -> None:
        self.model, self.samples, self.device = model, samples, next(model.parameters()).device
        with torch.inference_mode():
            self.prepared = [self._prepare(sample, iterations) for sample in samples]

    def _prepare(self, sample: Sample, iterations: int) -> Prepared:
        left, right = (torch.from_numpy(view)[None].to(self.device) for view in (sample.left, sample.right))
        return self.model.prepare(left, right, polarity=sample.polarity, iterations=iterations)

    def epe(self, update: str) -> dict[str, float | None]:
        """Mean over the scenes of the mean |error|, px: of all pixels, and of glass where scenes have some."""
        model = self.model.with_operator(self.model.spec, make_operator(parse_part("update", update)))
        everywhere, glass = [], []
        for sample, prepared in zip(self.samples, self.prepared, strict=True):
            with torch.inference_mode():
                found = model.refine(prepared).disparity[0].cpu().numpy()
            assert sample.disparity is not None and sample.valid is not None and sample.glass is not None
            error, on_glass = np.abs(found - sample.disparity), sample.glass & sample.valid
            everywhere.append(float(error[sample.valid].mean()))
            glass += [float(error[on_glass].mean())] if on_glass.any() else []
        return {"epe": float(np.mean(everywhere)), "glass": float(np.mean(glass)) if glass else None}


def settings(
    importances: tuple[str, ...], densities: tuple[float, ...], iterations: int, dense_steps: tuple[int, ...]
) -> Iterator[Setting]:
    """What is measured at a number of iterations: the dense model, then masks that are used after ``dense_steps``, by
    default from the first iteration on, after a quarter and after half. An importance that knows nothing before the
    first one starts behind it."""
    yield _dense(iterations)
    for source in importances:
        waits = getattr(instantiate("importance", parse_part("importance", source)), "after_first", False)
        first = {max(steps, int(waits)) for steps in dense_steps or (0, iterations // 4, iterations // 2)}
        for steps, density in itertools.product(sorted(first), densities):
            if steps < iterations:
                yield {**_dense(iterations), "importance": source, "dense_steps": steps, "density": density}


def _dense(iterations: int) -> Setting:
    return {"iterations": iterations, "importance": "dense", "dense_steps": iterations, "density": 1.0, "tuned": 0}


def update(row: Setting) -> str:
    """The operator of a row as a spec."""
    if row["importance"] == "dense":
        return "dense"
    options = f'density={row["density"]},importance="{row["importance"]}",dense_steps={row["dense_steps"]}'
    return f'flashgru({options},backend="naive")'


def best(rows: list[Setting], iterations: int) -> Setting | None:
    """The lowest EPE of what may pay, before fine-tuning."""
    here = [row for row in rows if row["iterations"] == iterations and not row["tuned"]]
    able = [row for row in here if refined(row_of(row), iterations) <= MOST]
    return min(able, key=lambda row: row["epe"], default=None)


def row_of(row: Setting) -> Row:
    return Row(row["importance"], row["density"], row["dense_steps"], row["cost"])


def tune(name: str, row: Setting, data: str, batch: int, runs: Path) -> str:
    """A checkpoint's model trained for ``row["tuned"]`` steps under a row's operator; goes on where it was ended."""
    config = read_config(follow(find(name))[0])
    spec = replace(config.spec(), update=parse_part("update", update(row)))
    title = f"{find(name).name}-{str(config.weights_sha256)[:8]}-{row['iterations']}-{row['importance']}-{row['tuned']}"
    own = {"name": title, "model": str(spec), "init": {"from": name}}
    own |= {"data": data, "batch_size": batch, "iterations": row["iterations"], "steps": row["tuned"]}
    recipe = recipes.read(recipes.find("supervised"), {**TRAINING, **own})
    return f"dir:{train(recipe, runs / title, resume=True)}"


# ------------------------------------------------------------------------------------------------------------ the run


class Results:
    """A model's rows in the JSON file, which is written after each."""

    def __init__(self, name: str, scenes: int, out: Path | None, device: str = "cpu") -> None:
        config = read_config(follow(find(name))[0])
        self.out, self.key, self.own, self.device = out, find(name).name, config.settings.iterations, device
        self.all: dict[str, Any] = json.loads(read_bytes(out)) if out is not None and out.exists() else {}
        about = {"data": f"synthetic(seed={SEED},length={scenes})", "weights": config.weights_sha256}
        known = self.all.get(self.key, {})
        same = all(known.get(key) == value for key, value in about.items())  # others' figures are not this model's
        self.about = {**about, "iterations": self.own, "lacks": known.get("lacks", {}) if same else {}}
        self.rows: list[Setting] = known.get("rows", []) if same else []

    def get(self, wanted: Setting) -> Setting | None:
        return next((row for row in self.rows if all(row[key] == wanted[key] for key in KEYS)), None)

    def add(self, row: Setting) -> None:
        """Note a measured row, with what it costs over the dense model of the same iterations and training."""
        dense = self.get({**_dense(row["iterations"]), "tuned": row["tuned"]}) or row
        self.rows.append({**row, "cost": row["epe"] / dense["epe"] - 1})
        click.echo(f"{self.key} {json.dumps(self.rows[-1])}", err=True)
        self.write()

    def write(self) -> None:
        self.all[self.key] = {**self.about, "machine": hardware(self.device), **record.made(), "rows": self.rows}
        if self.out is not None:
            record.write(self.all, self.out)

    def measure(self, name: str, samples: list[Sample], wanted: list[Setting]) -> None:
        """Whatever of some settings, all of one number of iterations, is not known yet."""
        todo = [row for row in wanted if self.get(row) is None and row["importance"] not in self.about["lacks"]]
        if not todo:
            return
        scenes = Scenes(polzoo.load(name, update="dense", device=self.device), samples, todo[0]["iterations"])
        for row in todo:
            if row["importance"] in self.about["lacks"]:
                continue
            try:
                self.add({**row, **scenes.epe(update(row))})
            except PolzooError as error:  # a source that the model does not have
                self.about["lacks"][row["importance"]] = str(error)
                self.write()


def table(rows: list[Setting]) -> str:
    """Markdown: a line for each importance and its dense iterations, a column for each density."""
    densities = sorted({row["density"] for row in rows if row["importance"] != "dense"})
    head = ["iterations", "fine-tuned", "`dense_steps`", "importance", *(f"{d:.0%}" for d in densities)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows = sorted(rows, key=lambda r: (-r["iterations"], r["tuned"], r["importance"] != "dense", *_line(r)))
    for key, group in itertools.groupby(rows, key=_line):
        line = {row["density"]: row for row in group}
        n, tuned, first, source = key
        cells = [_cell(line.get(d)) for d in densities] if source != "dense" else [f"{line[1.0]['epe']:.2f} px"]
        steps = f"{tuned} steps" if tuned else ""
        lines.append(f"| {' | '.join([str(n), steps, str(first), source, *cells])} |")
    return "\n".join(lines)


def _line(row: Setting) -> tuple[int, int, int, str]:
    return row["iterations"], row["tuned"], row["dense_steps"], row["importance"]


def _cell(row: Setting | None) -> str:
    return "" if row is None else f"{row['epe']:.2f} ({100 * row['cost']:+.0f} %)"


SHORT = {"attention": "att.", "attention-inverse": "inv.", "gradient": "edge"}
"""What stands for an importance in the picture's legend."""


def figure(found: list[Results]) -> np.ndarray:
    """EPE against density at the models' own iterations: above from the first iteration on, below after a quarter."""
    return np.vstack([np.hstack([panel(one, first) for one in found]) for first in (0, 0.25)])


def panel(one: Results, first: float) -> np.ndarray:
    """A model's curves, one for each importance, after a share of dense iterations, or after the one that it needs, at
    the densities that every one of them was measured at."""
    rows = [r for r in one.rows if r["iterations"] == one.own and not r["tuned"] and r["density"] < 1]
    dense = one.get(_dense(one.own))
    if dense is None or not rows:
        raise PolzooError(f"{one.key} was not measured at its own {one.own} iterations, which the picture shows")
    curves: dict[str, dict[float, float]] = {}
    late = [row for row in rows if row["dense_steps"] >= int(first * one.own)]
    for source in dict.fromkeys(str(row["importance"]) for row in late):
        mine = [row for row in late if row["importance"] == source]
        least = min(row["dense_steps"] for row in mine)
        curves[source] = {row["density"]: row["epe"] for row in mine if row["dense_steps"] == least}
    densities = sorted(set.intersection(*map(set, curves.values())))
    lines = [Line(SHORT.get(name, name), [known[d] for d in densities]) for name, known in curves.items()]
    high = max(known[d] for known in curves.values() for d in densities)
    marks = ", ".join(f"{i}: {d:.0%}" for i, d in enumerate(densities, 1))
    start = f"dense first: {int(first * one.own)} of {one.own}" if first else f"{one.own} iterations"
    under = f"{one.key}, {start}, dense {dense['epe']:.2f} px; {marks}"
    return plot(lines, low=0.9 * dense["epe"], high=1.05 * high, under=under)


def settle(folder: Path, text: str) -> Path:
    """Write into a checkpoint's config which update operator suits it and renew its card; a sparse one is also put
    beside it as the alias ``NAME-flash``.

    Returns:
        the folder of the alias, or of the checkpoint where there is none.

    Raises:
        PolzooError: an alias; a card that somebody wrote; an operator that is unknown or cannot run the model; a
            checkpoint with tensors of its own where the alias would be.
    """
    config, part = read_config(folder), parse_part("update", text)
    model_card.own_words(folder)
    config = config.model_copy(update={"execution": format_part("update", part)})
    place, sparse = folder.with_name(f"{folder.name}-flash"), part.name != "dense"
    if place.exists() and read_alias(place) is None:
        raise PolzooError(f"{place} has tensors of its own and is kept; an alias would replace it")
    if sparse:
        checkpoint.save_alias(place, str(folder), text)
    write_all({folder / CONFIG: config_text(config).encode()})
    write_all({folder / CARD: model_card.render(folder, folder.name).encode()})
    return place if sparse else folder


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--importance", "importances", multiple=True, help="Repeat. [default: every registered one]")
@click.option("--density", "densities", multiple=True, type=float, default=(0.1, 0.2, 0.3, 0.5), show_default=True)
@click.option("--dense-steps", multiple=True, type=click.IntRange(0), help="Repeat. [default: 0, a quarter, half]")
@click.option("--iterations", multiple=True, type=click.IntRange(1), help="Repeat. [default: the model's own, 8, 4, 2]")
@click.option("--scenes", type=click.IntRange(1), default=20, show_default=True)
@click.option("--tune", "steps", type=click.IntRange(0), default=1000, show_default=True, help="Steps under the mask.")
@click.option("--tune-iterations", multiple=True, type=click.IntRange(1), help="Where. [default: as --iterations]")
@click.option("--tune-data", default=TRAINED_ON, show_default=True, help="What on.")
@click.option("--tune-batch", type=click.IntRange(1), default=4, show_default=True, help="Pairs a step.")
@click.option("--device", default="cpu", show_default=True, help="Where is measured; training takes a GPU if there is.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/flashgru"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON, written after every row.")
@click.option("--figure", "picture", type=click.Path(path_type=Path), help="PNG of EPE against density.")
@click.option("--settle", "settles", is_flag=True, help="Write the execution that follows into each checkpoint folder.")
def main(
    models: tuple[str, ...],
    importances: tuple[str, ...],
    densities: tuple[float, ...],
    dense_steps: tuple[int, ...],
    iterations: tuple[int, ...],
    scenes: int,
    steps: int,
    tune_iterations: tuple[int, ...],
    tune_data: str,
    tune_batch: int,
    device: str,
    runs: Path,
    out: Path | None,
    picture: Path | None,
    settles: bool,
) -> None:
    """EPE of MODELS (what polzoo.load takes) under flashgru, and what follows for their execution."""
    data = Synthetic(SyntheticOptions(seed=SEED, length=scenes))
    samples, done = [data[i] for i in range(scenes)], []
    importances = importances or tuple(e.key for e in registry().entries("importance") if e.key != "auto")
    for name in models:
        one = Results(name, scenes, out, device)
        every = tuple(dict.fromkeys(iterations or (one.own, 8, 4, 2)))
        for n in every:
            one.measure(name, samples, list(settings(importances, densities, n, dense_steps)))
        for n in (tune_iterations or every) if steps else ():
            mask = best(one.rows, n)
            for row in [_dense(n), mask] if mask else []:
                wanted = {**{key: row[key] for key in KEYS}, "tuned": steps}
                if one.get(wanted) is None:
                    one.measure(tune(name, wanted, tune_data, tune_batch, runs), samples, [wanted])
        done.append(one)
        click.echo(f"{one.key}, {one.about['data']}\n\n{table(one.rows)}\n")
        rows = [row_of(r) for r in one.rows if r["iterations"] == one.own and not r["tuned"] and r["density"] < 1]
        if rows:
            text = execution(rows, one.own)
            click.echo(f"{one.key}: at a cost of {COST:.0%} and {MOST:.0%} of the pixels at most: {text}")
            if settles:
                click.echo(settle(find(name), text))
    if picture is not None:
        click.echo(write_image(picture, figure(done)))


if __name__ == "__main__":
    main()
