"""Publish a trained run as ``model_cards/NAME``: half-precision weights, figures of ``polzoo eval``'s protocols, card.

    polzoo train polstereo-nano                                               # writes runs/polstereo-nano/checkpoint
    python benchmarks/make_card.py model_cards/polstereo-nano --run runs/polstereo-nano/checkpoint --real ../shared/data
    python benchmarks/make_card.py model_cards/polstereo-nano --real ../shared/data             # its figures once more

The comparator has the best setting that ``sgbm_search.py`` found on other scenes. Without ``--real`` the protocol
``real-pairs`` is left out.
"""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

import polzoo
from polzoo import checkpoint, model_card
from polzoo.config import CARD, RECIPE, read_config
from polzoo.evaluation import report
from polzoo.evaluation.evaluate import evaluate, open_protocol
from polzoo.spec import format_part, parse_part

HERE = Path(__file__).parent
WIDEST = 224  # px, covers the largest true disparity of the real pairs


def publish(run: Path, target: Path) -> None:
    """Write a run's checkpoint in half precision, or as its base is."""
    config = read_config(run)
    provenance = config.provenance.model_dump(exclude_none=True)
    recipe = (run / RECIPE).read_text()
    model = polzoo.load(str(run.resolve()))
    base = None if config.base is None else config.base.name  # a stage stays a delta on the model that was pruned
    about = {"summary": config.summary, "provenance": provenance, "recipe": recipe}
    checkpoint.save(model, target, **about, dtype=None if base else "float16", base=base)


def measure(target: Path, real: Path | None) -> Path:
    """Evaluate a published model and renew its card; returns the card."""
    name, sgbm = target.name, json.loads((HERE / "results" / "sgbm_search.json").read_text())["best"]["spec"]
    found = [_evaluate([name, sgbm], protocol) for protocol in ("synthetic-v1", "synthetic-v1-rgb")]
    if real is not None:
        part = parse_part("baseline", sgbm)
        wide = replace(part, options=part.options.model_copy(update={"num_disparities": WIDEST}))
        found.append(_evaluate([name, format_part("baseline", wide)], "real-pairs", real))
    report.write(found, target)
    (target / CARD).write_text(model_card.render(target, target.name), encoding="utf-8")
    return target / CARD


def _evaluate(methods: list[str], protocol: str, root: Path | None = None) -> dict:
    rules, pairs = open_protocol(protocol, None if root is None else str(root))
    command = f"polzoo eval {shlex.join(methods)} --protocol {protocol}" + " --data ROOT" * (root is not None)
    return evaluate(methods, pairs, data=rules.data, protocol=rules, command=command)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--run", type=Path, help="checkpoint folder of a run, to be published first")
    parser.add_argument("--real", type=Path, help="folder of real pairs with truth, see `polzoo info real-pairs`")
    arguments = parser.parse_args()
    if arguments.run is not None:
        publish(arguments.run, arguments.target)
    print(measure(arguments.target, arguments.real))
