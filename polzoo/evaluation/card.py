"""A model card: every figure on it comes from the checkpoint's ``config.json`` and ``eval.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polzoo.config import EVAL, Config, read_config
from polzoo.errors import PolzooError

SHOWN = ("epe", "bad-3")
MARK = "<!-- figures: generated from eval.json -->"


def render(folder: Path) -> str:
    """README.md of a checkpoint folder.

    Raises:
        PolzooError: no readable config or evaluation in the folder.
    """
    config = read_config(folder)
    try:
        evaluations = json.loads((folder / EVAL).read_text(encoding="utf-8"))["evaluations"]
    except (OSError, ValueError, KeyError) as error:
        raise PolzooError(f"{folder / EVAL} is no evaluation that can be read: {error}") from None
    return "\n".join(
        [*_head(folder.name, config), *_made(config), *_use(folder.name, config), MARK, "", *_figures(evaluations)]
    )


def _head(name: str, config: Config) -> Iterator[str]:
    yield from ("---", "library_name: polzoo", "pipeline_tag: depth-estimation", f"license: {config.licence.lower()}")
    yield from ("tags: [stereo, disparity, polarization]", "---", "", f"# {name}", "", config.summary + ".", "")


def _made(config: Config) -> Iterator[str]:
    p, s = config.provenance, config.settings
    yield from ("| | |", "|---|---|", f"| model | `{config.spec()}` |")
    yield f"| iterations | {s.iterations} (trained with {s.schedule_steps}) |"
    yield f"| input | rectified RGB pair, analysers {s.input.analysers} unless a call says otherwise |"
    trained = f"recipe `{p.recipe}`, {p.steps:,} steps on `{p.data}`, seed {p.seed}" if p.steps else "–"
    yield f"| trained | {trained} |"
    yield f"| weights | {config.dtype} on disk, licence {config.licence} |"
    if p.note:
        yield f"| note | {p.note} |"
    yield ""


def _use(name: str, config: Config) -> Iterator[str]:
    yield from ("```python", "import polzoo", "", f'model = polzoo.load("{name}")')
    yield from ('disparity = model.predict("left.png", "right.png")  # (H, W) float32, pixels', "```", "")
    yield (
        "It has only ever seen synthetic scenes. On real pairs, and beyond the disparities of its training scenes,"
        " read\nthe figures below before you rely on it."
    )
    yield ""


def _figures(evaluations: list[Mapping[str, Any]]) -> Iterator[str]:
    for result in evaluations:
        methods = result["methods"]
        columns = [f"{_short(m['name'])} {label}" for m in methods for label in SHOWN]
        yield from (f"### `{result['data']['spec']}`", "")
        yield from (f"{result['data']['pairs']} pairs, averages over pixels; EPE in px, bad-3 in %.", "")
        yield from _rows("region", columns, {name: _region(methods, name) for name in result["regions"]})
        if result["data"]["pairs"] <= 10:
            names = result["data"]["names"]
            yield from _rows("pair, all known pixels", columns, {n: _each(methods, i) for i, n in enumerate(names)})
        yield from ("```bash", result["run"]["command"], "```", "")


def _rows(title: str, columns: list[str], rows: Mapping[str, list[float | None]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    for name, values in rows.items():
        yield f"| {name} | " + " | ".join("–" if v is None else f"{v:.2f}" for v in values) + " |"
    yield ""


def _region(methods: list[Mapping[str, Any]], region: str) -> list[float | None]:
    return [m["regions"][region][label]["pixels"] for m in methods for label in SHOWN]


def _each(methods: list[Mapping[str, Any]], index: int) -> list[float | None]:
    return [m["each"][label][index] for m in methods for label in SHOWN]


def _short(name: str) -> str:
    return name.partition("(")[0]
