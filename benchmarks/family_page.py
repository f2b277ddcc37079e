"""The families' table in docs/pruning.md, from the cards and from paired timings.

    polzoo bench model pipstereo-p3 --against pipstereo-i32 --size 256x320 --rounds 3 \\
        --json benchmarks/results/family/pipstereo-p3.json              # and so on for every stage
    python benchmarks/family_page.py
"""

from __future__ import annotations

import json
from pathlib import Path

from polzoo.config import read_config
from polzoo.evaluation.page import Marks, renew

ROOT = Path(__file__).resolve().parents[1]
CARDS, TIMES, PAGE = ROOT / "model_cards", ROOT / "benchmarks" / "results" / "family", ROOT / "docs" / "pruning.md"
MARKS: Marks = ("<!-- table: python benchmarks/family_page.py -->", "<!-- end of the table -->")
FAMILIES = (
    ("pipstereo-i32", "pipstereo-p1", "pipstereo-p2", "pipstereo-p3", "pipstereo-p4", "pipstereo"),
    ("raft-i32", "raft-p3", "raft-p5"),
)
HEAD = "model", "iterations", "synthetic-v1: EPE, bad-3", "glass: EPE", "real pairs: EPE, bad-3", "time over the first"


def table() -> str:
    """A row for each model, and StereoSGBM's under each family."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for family in FAMILIES:
        lines += [(f"`{name}`", str(iterations(name)), *figures(name, 0), time(name, family[0])) for name in family]
    lines.append(("`sgbm-filled`, best of 492 settings", "–", *figures(FAMILIES[0][0], 1), "–"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def iterations(name: str) -> int:
    return read_config(CARDS / name).settings.iterations


def figures(name: str, method: int) -> tuple[str, str, str]:
    """Of one of a card's methods, its model or the baseline beside it, averaged as the protocols say."""
    found = {
        result["protocol"]["name"]: result
        for result in json.loads((CARDS / name / "eval.json").read_text())["evaluations"]
    }

    def figure(protocol: str, region: str, label: str) -> float:
        result = found[protocol]
        return result["methods"][method]["regions"][region][label][result["protocol"]["averaging"]]

    def both(protocol: str) -> str:
        return f"{figure(protocol, 'all', 'epe'):.2f} px, {figure(protocol, 'all', 'bad-3'):.1f} %"

    return both("synthetic-v1"), f"{figure('synthetic-v1', 'glass', 'epe'):.2f} px", both("real-pairs")


def time(name: str, first: str) -> str:
    """Median ratio over the rounds of a run in which both took turns, with its ends."""
    if name == first:
        return "1"
    found = json.loads((TIMES / f"{name}.json").read_text())["ratios"]["wall"]
    return f"{found['median']:.2f}× ({found['least']:.2f} … {found['most']:.2f})"


if __name__ == "__main__":
    renew(PAGE, MARKS, table())
