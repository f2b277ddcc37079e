"""What :func:`polzoo.evaluation.evaluate.evaluate` found, as a table for people and as a file for programs."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polzoo import __version__
from polzoo.data.files import read_bytes, write_bytes
from polzoo.errors import PolzooError, one_line

Result = Mapping[str, Any]
NOTHING = "–"

FORMAT = 2
"""Version of ``eval.json``: ``{"format": 2, "evaluations": [one result per data set]}``."""


def averaging(result: Result) -> str:
    """Which of the two averages a result's headline is: "pixels" or "pairs"."""
    return result["protocol"]["averaging"] if result["protocol"] else "pixels"


def mask(result: Result) -> str:
    """The region that a result's headline is over."""
    return result["protocol"]["mask"] if result["protocol"] else "all"


def headline(figures: Mapping[str, Any], averaging: str) -> float | None:
    """The average that a protocol asks for; over pairs where a figure is none of pixels (a quantile)."""
    return figures["pairs"] if figures["pixels"] is None else figures[averaging]


def title(result: Result) -> str:
    """Protocol with its version, data, number of pairs and averaging, in one line."""
    protocol, data = result["protocol"], result["data"]
    named = f"{protocol['name']} v{protocol['version']}, " if protocol else ""
    part = "" if data["pairs"] == data["of"] else f" (the first of {data['of']}: not the whole set)"
    return f"{named}{data['spec']}: {_pairs(data['pairs'])}{part}, averages over {averaging(result)}"


def table(result: Result) -> str:
    """Regions and metrics as rows, the methods side by side."""
    names = [label(method) for method in result["methods"]]
    lines = [["", *names], *_lines(result)]
    scores = [method["gate_auc"] for method in result["methods"]]
    if any(scores):
        lines.append(["gate against glass [AUC]", *(f"{score['mean']:.3f}" if score else NOTHING for score in scores)])
    times = (result["run"]["median_ms"][method["name"]] for method in result["methods"])
    lines.append(["median ms per pair", *(f"{time:.0f}" for time in times)])
    return "\n".join([title(result), "", *_aligned(lines)])


def label(method: Mapping[str, Any]) -> str:
    """A method's name, with a word where its weights are random."""
    return method["name"] + " (untrained)" * (method["kind"] == "untrained")


def _lines(result: Result) -> Iterator[list[str]]:
    """Per region a line that says how many pairs have it, then one per metric."""
    methods = result["methods"]
    for name, region in result["regions"].items():
        counts = [_pairs(region["pairs"])]
        counts += [f"{region[why]} {why}" for why in ("empty", "unknown") if region[why]]
        yield [f"{name} ({', '.join(counts)})", *("" for _ in methods)]
        for metric, about in result["metrics"].items():
            values = (headline(method["regions"][name][metric], averaging(result)) for method in methods)
            yield [f"  {metric} [{about['unit']}]", *(number(value, about["unit"]) for value in values)]


def compare(files: Sequence[Path]) -> str:
    """Headline figures of several ``eval.json``, one table per data set: only what was measured alike.

    Raises:
        PolzooError: a file that is no evaluation, results of other protocols, of other versions of one, of other data
            or with other pairs, which no table may hold together, or a method of one name with other figures.
    """
    tables: dict[str, list[tuple[Path, Result]]] = {}
    for place, file in enumerate(files):
        if file in files[:place]:
            raise PolzooError(f"{file} is named twice; name every evaluation once")
        for result in read(file):
            tables.setdefault(result["data"]["spec"], []).append((file, result))
    common = [found for found in tables.values() if len({file for file, _ in found}) == len(files)]
    if not common:
        sets = ", ".join(tables)
        raise PolzooError(f"no data set is in every one of {', '.join(map(str, files))}; there are {sets}")
    return "\n\n".join(map(_compared, common))


def _compared(found: Sequence[tuple[Path, Result]]) -> str:
    (file, first), *others = found
    for other, result in others:
        for what, one, two in zip(_KEYS, _key(first), _key(result), strict=True):
            if one != two:
                raise PolzooError(f"{file} and {other} are not measured alike: {what} {_differ(one, two)}")
    columns = [(path, method) for path, result in found for method in result["methods"]]
    names = [label(method) for _, method in columns]
    twice = {name for name in names if names.count(name) > 1}
    heads = [f"{name} [{path}]" if name in twice else name for name, (path, _) in zip(names, columns, strict=True)]
    return table(
        {
            **first,
            "methods": [{**method, "name": head} for head, (_, method) in zip(heads, columns, strict=True)],
            "run": {"median_ms": dict(zip(heads, _times(found), strict=True))},
        }
    )


_KEYS = ("protocol", "version", "rules of the protocol", "pairs", "metrics", "regions")


def _key(result: Result) -> tuple[Any, ...]:
    """What two results must share to stand in one table, in the order of ``_KEYS``."""
    rules = result["protocol"] or {}
    figures = list(result["metrics"].values()), result["regions"]
    return rules.get("name"), rules.get("version"), rules, result["data"]["names"], *figures


def _times(found: Sequence[tuple[Path, Result]]) -> list[float]:
    return [result["run"]["median_ms"][method["name"]] for _, result in found for method in result["methods"]]


def _differ(one: Any, other: Any) -> str:
    """In a few words how two values differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return "differ in " + ", ".join(key for key in {**one, **other} if one.get(key) != other.get(key))
    if isinstance(one, list) and isinstance(other, list):
        return f"differ ({len(one)} and {len(other)} of them)"
    return f"{one} and {other}"


def _pairs(count: int) -> str:
    return f"{count} pair{'s' * (count != 1)}"


def number(value: float | None, unit: str) -> str:
    """A figure as a table shows it."""
    return NOTHING if value is None else f"{value:.1f}" if unit == "%" else f"{value:.3f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width, the first flush left."""
    first, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
    return [
        "  ".join([line[0].ljust(first), *(cell.rjust(w) for cell, w in zip(line[1:], widths, strict=True))]).rstrip()
        for line in lines
    ]


def text(results: Sequence[Result]) -> str:
    """Results, one per data set, as the JSON of ``eval.json``; what is not known is null."""
    return json.dumps({"format": FORMAT, "evaluations": results}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write(results: Sequence[Result], folder: Path) -> Path:
    """Write ``folder/eval.json``, whole or not at all; other files in the folder stay. Returns its path."""
    return write_bytes(Path(folder) / "eval.json", text(results).encode())


_PARTS = ("protocol", "data", "metrics", "regions", "methods", "run")


def read(file: Path) -> list[Result]:
    """The results of an ``eval.json``, or of the folder that it lies in.

    Raises:
        PolzooError: it is missing, no evaluation, or of another format.
    """
    file = file / "eval.json" if file.is_dir() else file
    try:
        found = json.loads(read_bytes(file))
        if found["format"] != FORMAT:
            raise PolzooError(f"{file} has format {found['format']}; this polzoo reads {FORMAT}: evaluate again")
        if any(missing := [key for key in _PARTS if key not in one] for one in found["evaluations"]):
            raise ValueError(f"it lacks {', '.join(missing)}")
        return found["evaluations"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PolzooError(f"{file} is no evaluation: {one_line(error)}") from error


def made() -> dict[str, Any]:
    """When a result was put down, and with which versions."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions()}


def versions() -> dict[str, str]:
    """What figures may depend on: versions of polzoo and its numerical packages, read without importing them."""
    found = {"polzoo": __version__, "python": platform.python_version()}
    for package in ("numpy", "opencv-python-headless", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "platform": platform.platform()}
