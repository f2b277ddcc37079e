"""How many pairs per second the analytic generator makes on one core.

    python benchmarks/generator.py [--pairs 20] [--out benchmarks/results/generator.json]

CPU time of one thread, so that other programs on the machine disturb little; the median of five blocks of pairs, each
of other indices. Measured on the defaults (256 × 320) and on what ``recipes/polstereo-nano.toml`` trains on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
from record import made, write

from polzoo.data.synthetic import Synthetic
from polzoo.evaluation.machine import processor
from polzoo.recipes.config import read
from polzoo.spec import format_part, parse_part

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "recipes" / "polstereo-nano.toml"
BLOCKS = 5


def measure(spec: str, pairs: int) -> dict[str, Any]:
    """Pairs per CPU-second of a ``synthetic(…)`` data set: every block's figure and their median."""
    part = parse_part("dataset", spec)
    data = Synthetic(part.options)
    data[0]  # what is imported and allocated at first use is no part of the figure
    rates = []
    for block in range(BLOCKS):
        start = time.process_time()
        for index in range(block * pairs, (block + 1) * pairs):
            data[index % len(data)]
        rates.append(pairs / (time.process_time() - start))
    return {"data": format_part("dataset", part), "pairs_per_cpu_second": statistics.median(rates), "blocks": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="pairs in each of the five blocks")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "generator.json")
    parser.add_argument("--note", default="", help="what else to know, such as what ran beside it")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [measure(spec, arguments.pairs) for spec in ("synthetic", read(RECIPE).data)]
    for row in rows:
        spread = f"{min(row['blocks']):.1f} … {max(row['blocks']):.1f}"
        print(f"{row['pairs_per_cpu_second']:6.1f} pairs per CPU-second ({spread})  {row['data']}")
    result = {
        "what": f"pairs per CPU-second of one thread, median of {BLOCKS} blocks of {arguments.pairs} pairs",
        "results": rows,
        "device": f"{processor()}, one used",
        "note": arguments.note,
        **made(),
    }
    write(result, arguments.out)


if __name__ == "__main__":
    main()
