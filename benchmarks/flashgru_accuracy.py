"""What leaving pixels out costs: EPE of a model against density, importance, iterations and dense first iterations.

    python benchmarks/flashgru_accuracy.py polstereo-nano --out benchmarks/results/flashgru_accuracy.json

On rendered scenes of a fixed seed; what is measured already is kept, so that a run goes on where one was ended. A model
that was fine-tuned under the mask is measured the same way; a recipe trains one if its ``model`` names the operator.
"""

from __future__ import annotations

import datetime
import itertools
import json
from pathlib import Path
from typing import Any

import click
import torch

import polzoo
from polzoo.data.files import read_bytes, write_bytes
from polzoo.data.options import SyntheticOptions
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError
from polzoo.evaluation.machine import processor

SEED = 8001
"""Of the rendered scenes; no recipe trains on it."""

ENOUGH = 0.05
"""The share of EPE that a density may cost to be a checkpoint's default."""


class Scenes:
    """Rendered pairs, and a model's mean EPE on them."""

    def __init__(self, count: int) -> None:
        data = Synthetic(SyntheticOptions(seed=SEED, length=count))
        self.samples = [data[i] for i in range(count)]

    def epe(self, name: str, update: str | None, iterations: int) -> float:
        """Mean over scenes of the mean |error| over valid pixels, px."""
        model, errors = polzoo.load(name, update=update), []
        for sample in self.samples:
            left, right = (torch.from_numpy(view)[None].float() for view in (sample.left, sample.right))
            with torch.inference_mode():
                found = model(left, right, polarity=sample.polarity, iterations=iterations).disparity[0, 0]
            off = (found - torch.from_numpy(sample.disparity).reshape(found.shape)).abs()
            errors.append(off[torch.from_numpy(sample.valid).reshape(found.shape)].mean().item())
        return sum(errors) / len(errors)


def settings(
    importances: tuple[str, ...], densities: tuple[float, ...], iterations: tuple[int, ...], first: tuple[int, ...]
) -> list[dict[str, Any]]:
    """What is measured, the dense model of each number of iterations before the sparse ones."""
    found: list[dict[str, Any]] = []
    for n in iterations:
        found.append({"iterations": n, "importance": "dense", "dense_steps": n, "density": 1.0})
        for source, dense_steps, density in itertools.product(importances, first, densities):
            if dense_steps < n:
                found.append({"iterations": n, "importance": source, "dense_steps": dense_steps, "density": density})
    return found


def update(row: dict[str, Any]) -> str | None:
    """The operator of a row as a spec."""
    if row["importance"] == "dense":
        return None
    return f'flashgru(density={row["density"]},importance="{row["importance"]}",dense_steps={row["dense_steps"]})'


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each importance and its dense iterations, a column for each density."""
    densities = sorted({row["density"] for row in rows if row["importance"] != "dense"})
    lines = [
        "| iterations | importance | `dense_steps` | " + " | ".join(f"{d:.0%}" for d in densities) + " | least ≤ 5 % |"
    ]
    lines.append("|---" * (len(densities) + 4) + "|")
    for n in dict.fromkeys(row["iterations"] for row in rows):
        here = [row for row in rows if row["iterations"] == n]
        for source, first in dict.fromkeys((row["importance"], row["dense_steps"]) for row in here):
            line = {row["density"]: row for row in here if (row["importance"], row["dense_steps"]) == (source, first)}
            cells = [_cell(line.get(d)) if source != "dense" else "" for d in densities]
            if source == "dense":
                cells[:1] = [f"{line[1.0]['epe']:.3f} px"]
            cheap = min((d for d, row in line.items() if row.get("cost", 9) <= ENOUGH), default=None)
            least = "" if source == "dense" else "none" if cheap is None else f"{cheap:.0%}"
            lines.append(f"| {n} | {source} | {first} | {' | '.join(cells)} | {least} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or "error" in row:
        return "–"
    return f"{row['epe']:.3f} ({row['cost']:+.1%})"


@click.command()
@click.argument("model")
@click.option("--importance", "importances", multiple=True, default=("gradient", "motion", "gate", "attention"))
@click.option("--density", "densities", multiple=True, type=float, default=(0.1, 0.2, 0.3, 0.5))
@click.option("--iterations", multiple=True, type=int, default=(8, 4, 2))
@click.option("--dense-steps", "first", multiple=True, type=int, default=(0, 1, 2, 4))
@click.option("--scenes", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON, written after every row.")
def main(
    model: str,
    importances: tuple[str, ...],
    densities: tuple[float, ...],
    iterations: tuple[int, ...],
    first: tuple[int, ...],
    scenes: int,
    out: Path | None,
) -> None:
    """EPE of MODEL (a checkpoint) under flashgru; options that say what may be repeated."""
    found: dict[str, Any] = json.loads(read_bytes(out)) if out is not None and out.exists() else {}
    rows: list[dict[str, Any]] = found.get(model, {}).get("rows", [])
    data, dense = Scenes(scenes), {row["iterations"]: row["epe"] for row in rows if row["importance"] == "dense"}
    for row in settings(importances, densities, iterations, first):
        if any(all(known[key] == value for key, value in row.items()) for known in rows):
            continue
        try:
            row["epe"] = data.epe(model, update(row), row["iterations"])
            dense.setdefault(row["iterations"], row["epe"])
            row["cost"] = row["epe"] / dense[row["iterations"]] - 1
        except PolzooError as error:  # a source that the model does not have
            row["error"] = str(error)
        rows.append(row)
        click.echo(json.dumps(row), err=True)
        found[model] = {
            "data": f"synthetic(seed={SEED},length={scenes})",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": processor(),
            "torch": torch.__version__,
            "polzoo": polzoo.__version__,
            "rows": rows,
        }
        if out is not None:
            write_bytes(out, (json.dumps(found, indent=1) + "\n").encode())
    click.echo(table(rows))


if __name__ == "__main__":
    main()
