"""Publish a trained run as ``model_cards/NAME``: half-precision weights, held-out figures, card.

    polzoo train polstereo-nano                                               # writes runs/polstereo-nano/checkpoint
    python benchmarks/make_card.py runs/polstereo-nano/checkpoint model_cards/polstereo-nano --real ../shared/data

The scenes are those of ``benchmarks/eval_scenes.toml``, the comparator the best setting that ``sgbm_search.py`` found
on other scenes. Without ``--real`` the table of real pairs is left out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

from real_pairs import write_manifest

import polzoo
from polzoo import checkpoint
from polzoo.config import CARD, RECIPE, read_config
from polzoo.evaluation import card, report
from polzoo.evaluation.evaluate import evaluate, open_data
from polzoo.spec import format_part, parse_part

HERE = Path(__file__).parent
WIDEST = 224  # px, covers the largest true disparity of the real pairs


def publish(run: Path, target: Path, real: Path | None) -> Path:
    """Write the folder and its evaluation; returns it."""
    config = read_config(run)
    provenance = config.provenance.model_dump(exclude_none=True)
    recipe = (run / RECIPE).read_text()
    model = polzoo.load(str(run.resolve()))
    checkpoint.save(model, target, summary=config.summary, provenance=provenance, recipe=recipe, dtype="float16")
    report.write(_evaluations(target, real), target)
    (target / CARD).write_text(card.render(target), encoding="utf-8")
    return target


def _evaluations(target: Path, real: Path | None) -> list[dict]:
    """The held-out scenes, and the real pairs with a comparator whose range covers them."""
    name, sgbm = target.name, _comparator()
    scenes = tomllib.loads((HERE / "eval_scenes.toml").read_text())["test"]["data"]
    found = [_evaluate([name, sgbm], scenes, scenes)]
    plain = scenes.replace(")", ',analysers="none")')  # the same scenes, photographed without analysers
    found.append(_evaluate([name, sgbm], plain, plain))
    if real is not None:
        part = parse_part("baseline", sgbm)
        wide = format_part(
            "baseline", replace(part, options=part.options.model_copy(update={"num_disparities": WIDEST}))
        )
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_manifest(real, Path(folder) / "real_pairs.csv")
            found.append(_evaluate([name, wide], str(manifest), manifest.name))
    return found


def _evaluate(methods: list[str], data: str, shown: str) -> dict:
    pairs, _ = open_data(data)
    command = f"polzoo eval {shlex.join(methods)} --data {shlex.quote(shown)}"
    return evaluate(methods, pairs, data=shown, command=command)


def _comparator() -> str:
    return json.loads((HERE / "results" / "sgbm_search.json").read_text())["best"]["spec"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--real", type=Path, help="folder of real pairs with truth, see real_pairs.py")
    arguments = parser.parse_args()
    print(publish(arguments.run, arguments.target, arguments.real))
