"""What :func:`polzoo.evaluation.evaluate.evaluate` found, as a table for people and as a file for programs."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polzoo import __version__
from polzoo.data.files import write_bytes

Result = Mapping[str, Any]
NOTHING = "–"


def table(result: Result) -> str:
    """Regions and metrics as rows, the methods side by side; averages over all pixels of all pairs."""
    methods = result["methods"]
    lines = [["", *(method["name"] for method in methods)], *_lines(result)]
    lines.append(["median ms per pair", *(f"{method['median_ms']:.0f}" for method in methods)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(_cells(line, widths)).rstrip() for line in lines]
    head = f"{result['data']['spec']}: {_pairs(result['data']['pairs'])}, averages over pixels"
    return "\n".join([head, "", *shown])


def _lines(result: Result) -> Iterator[list[str]]:
    """Per region a line that says how many pairs have it, then one per metric."""
    methods = result["methods"]
    for name, region in result["regions"].items():
        counts = [_pairs(region["pairs"])]
        counts += [f"{region[why]} {why}" for why in ("empty", "unknown") if region[why]]
        yield [f"{name} ({', '.join(counts)})", *("" for _ in methods)]
        for label, metric in result["metrics"].items():
            values = (method["regions"][name][label]["pixels"] for method in methods)
            yield [f"  {label} [{metric['unit']}]", *(_number(value, metric["unit"]) for value in values)]


def _pairs(count: int) -> str:
    return f"{count} pair{'s' * (count != 1)}"


def _number(value: float | None, unit: str) -> str:
    return NOTHING if value is None else f"{value:.1f}" if unit == "%" else f"{value:.3f}"


def _cells(line: list[str], widths: list[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if place == 0 else cell.rjust(width)


FORMAT = 1
"""Version of ``eval.json``: ``{"format": 1, "evaluations": [one result per data set]}``."""


def text(results: Sequence[Result]) -> str:
    """Results, one per data set, as the JSON of ``eval.json``; what is not known is null."""
    return json.dumps({"format": FORMAT, "evaluations": results}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write(results: Sequence[Result], folder: Path) -> Path:
    """Write ``folder/eval.json``, whole or not at all; other files in the folder stay. Returns its path."""
    return write_bytes(Path(folder) / "eval.json", text(results).encode())


def versions() -> dict[str, str]:
    """What figures may depend on: versions of polzoo and its numerical packages, read without importing them."""
    found = {"polzoo": __version__, "python": platform.python_version()}
    for package in ("numpy", "opencv-python-headless", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "platform": platform.platform()}
