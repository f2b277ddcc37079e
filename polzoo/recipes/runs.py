"""Runs on disk: what they are, how far they got, where two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polzoo.errors import PolzooError, nearest, unknown
from polzoo.recipes.config import TrainingConfig, read
from polzoo.recipes.inherit import flat

LOG, RECIPE = "log.jsonl", "recipe.toml"


@dataclass(frozen=True)
class Run:
    """One folder that a training wrote into; ``lines`` are those of its log."""

    folder: Path
    config: TrainingConfig
    lines: tuple[dict[str, Any], ...]

    @property
    def step(self) -> int:
        """The last that was logged; 0 before the first."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def finished(self) -> bool:
        return self.step >= self.config.steps and (self.folder / "checkpoint").is_dir()

    def curve(self, name: str) -> dict[int, float]:
        """Step → value of a logged number. Raises PolzooError for a name that the log does not have."""
        found = {int(line["step"]): line.get(name) for line in self.lines}
        known = {step: float(value) for step, value in found.items() if isinstance(value, int | float)}
        if self.lines and not known:
            numbers = [key for key, value in self.lines[-1].items() if isinstance(value, int | float)]
            raise unknown(f"number in {self.folder / LOG}", name, numbers)
        return known


def open_run(folder: Path) -> Run:
    """The run in a folder. Raises PolzooError where there is none, or where its files are damaged."""
    log, recipe = folder / LOG, folder / RECIPE
    if not (log.is_file() and recipe.is_file()):
        others = [path.name for path in folder.parent.glob("*")] if folder.parent.is_dir() else []
        raise PolzooError(f"{folder} holds no run (no {LOG} and {RECIPE}){nearest(folder.name, others)}")
    try:
        whole = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        lines = tuple(json.loads(line) for line in whole)  # a kill cuts the last
        if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
            raise ValueError("a line without a step")
    except (OSError, ValueError) as error:
        raise PolzooError(f"{log} cannot be read: {error}") from error
    return Run(folder, read(recipe), lines)


def find_runs(root: Path) -> list[Run]:
    """Every run below a folder, by its path. Raises PolzooError where the folder is not there."""
    if not root.is_dir():
        raise PolzooError(f"there is no folder {root}")
    return [open_run(log.parent) for log in sorted(root.rglob(LOG)) if (log.parent / RECIPE).is_file()]


def table(runs: Iterable[Run]) -> list[str]:
    """A line for each run: how far it is, its last mean loss and error, its pace."""
    rows: list[tuple[str, ...]] = [("run", "step", "loss", "epe", "s/step", "skipped", "processes", "")]
    for run in runs:
        last = run.lines[-1] if run.lines else {}
        numbers = [_shown(last.get(name)) for name in ("loss", "epe", "s_per_step", "skipped", "processes")]
        state = "finished" if run.finished else "not finished"
        rows.append((str(run.folder), f"{run.step}/{run.config.steps}", *numbers, state))
    return _aligned(rows)


def comparison(runs: Sequence[Run], name: str = "loss") -> list[str]:
    """The keys in which recipes differ, then a number of the log at steps that all of the runs have logged."""
    tables = [flat(run.config.model_dump(mode="json", by_alias=True)) for run in runs]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    rows = [("", *(str(run.folder) for run in runs))]
    rows += [
        (key, *(_shown(table.get(key)) for table in tables))
        for key in keys
        if len({repr(table.get(key)) for table in tables}) > 1
    ]
    curves = [run.curve(name) for run in runs]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    chosen = sorted({shared[round(i * (len(shared) - 1) / 9)] for i in range(10)}) if shared else []
    rows += [(f"{name} at {step}", *(f"{curve[step]:.4g}" for curve in curves)) for step in chosen]
    return _aligned(rows)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
