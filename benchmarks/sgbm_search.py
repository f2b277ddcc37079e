"""Search settings of the classical comparator, ``sgbm-filled``, on scenes that are used for nothing else.

    python benchmarks/sgbm_search.py [--settings 240] [--out benchmarks/results/sgbm_search.json]

Random settings of a grid (fixed seed), then, from each of the best three, one option at a time until none improves.
Criterion: bad-3 in percent plus EPE in pixels, both over all pixels of all scenes.
"""

from __future__ import annotations

import argparse
import random
import time
import tomllib
from pathlib import Path
from typing import Any

from record import made, write

from polzoo.data.sample import Sample
from polzoo.evaluation.averages import Tally
from polzoo.evaluation.evaluate import open_data
from polzoo.evaluation.metrics import EPE, Bad
from polzoo.evaluation.options import SGBMOptions
from polzoo.evaluation.sgbm import SGBMFilled
from polzoo.spec import Part, format_part

HERE = Path(__file__).resolve().parent

GRID: dict[str, list[Any]] = {
    "block_size": [1, 3, 5, 7, 9, 11],
    "p1": [2, 4, 8, 16, 24, 48],  # times block_size², see penalties()
    "p2": [2, 4, 8, 16, 32],  # times p1
    "uniqueness": [0, 5, 10, 15, 20, 30],
    "disp12": [-1, 1, 2],
    "speckle_window": [0, 50, 100, 200, 400],
    "speckle_range": [1, 2],
    "prefilter_cap": [15, 31, 63],
    "mode": ["sgbm", "3way", "hh"],
    "pad": [True, False],
    "fill": ["left", "lower"],
}
REFERENCE = {
    "block_size": 5, "p1": 24, "p2": 4, "uniqueness": 10, "disp12": 1, "speckle_window": 100, "speckle_range": 2,
    "prefilter_cap": 15, "mode": "3way", "pad": True, "fill": "left",
}  # fmt: skip
"""The defaults of :class:`SGBMOptions` in terms of the grid."""

Choice = dict[str, Any]


def options(choice: Choice) -> SGBMOptions | None:
    """The options that a choice of the grid stands for, None where its penalties exceed what OpenCV's costs hold."""
    p1 = choice["p1"] * choice["block_size"] ** 2
    p2 = p1 * choice["p2"]
    return SGBMOptions(**{**choice, "p1": p1, "p2": p2}) if p2 <= 16000 else None


def measure(choice: Choice, samples: list[Sample]) -> dict[str, Any]:
    """One row of the result: canonical spec, bad-3 (%), EPE (px) and their sum over all pixels."""
    settings = options(choice)
    assert settings is not None
    match, bad, epe, start = SGBMFilled(settings), (Bad(), Tally("%")), (EPE(), Tally()), time.perf_counter()
    predictions = [match(sample.left, sample.right) for sample in samples]
    spent = time.perf_counter() - start
    for sample, predicted in zip(samples, predictions, strict=True):
        assert sample.disparity is not None and sample.valid is not None
        for metric, tally in (bad, epe):
            tally.add(*metric(predicted, sample.disparity[0], sample.valid[0]))
    share, error = bad[1].result()["pixels"], epe[1].result()["pixels"]
    assert share is not None and error is not None
    spec = format_part("baseline", Part("sgbm-filled", settings))
    return {"spec": spec, "bad-3": share, "epe": error, "score": share + error, "ms": 1000 * spent / len(samples)}


class Search:
    """Every setting that was measured, once."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples, self.rows = samples, {}

    def try_(self, choice: Choice) -> float:
        """The score of a choice; infinite where it is not possible."""
        key = tuple(choice.values())
        if key not in self.rows:
            if options(choice) is None:
                return float("inf")
            self.rows[key] = {**measure(choice, self.samples), "choice": dict(choice)}
            print(f"{len(self.rows):4d}  {self.rows[key]['score']:7.3f}  {self.rows[key]['spec']}", flush=True)
        return self.rows[key]["score"]

    def best(self, count: int) -> list[Choice]:
        """The best choices so far."""
        return [row["choice"] for row in sorted(self.rows.values(), key=lambda row: row["score"])[:count]]

    def draw(self, count: int) -> None:
        """Random settings until ``count`` were measured."""
        rng = random.Random(0)
        while len(self.rows) < count:
            self.try_({name: rng.choice(values) for name, values in GRID.items()})

    def refine(self, choice: Choice) -> None:
        """The best value of one option at a time, until a whole round changes nothing."""
        before: Choice = {}
        while choice != before:
            before = choice
            for name, values in GRID.items():
                choice = min(({**choice, name: value} for value in values), key=self.try_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=240, help="random settings before the refinement")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sgbm_search.json")
    arguments = parser.parse_args()
    scenes = tomllib.loads((HERE / "eval_scenes.toml").read_text())["search"]["data"]
    dataset, data = open_data(scenes)
    search = Search([dataset[index] for index in range(len(dataset))])
    search.try_(REFERENCE)
    search.draw(arguments.settings)
    for choice in search.best(3):
        search.refine(choice)
    ranked = sorted(search.rows.values(), key=lambda row: (row["score"], row["spec"]))
    rows = [{key: row[key] for key in ("spec", "bad-3", "epe", "score", "ms")} for row in ranked]
    result = {
        "what": "settings of sgbm-filled, best first; score = bad-3 [%] + EPE [px], over all pixels of all scenes",
        "data": data,
        "best": rows[0],
        "best_bad-3": min(rows, key=lambda row: row["bad-3"]),
        "best_epe": min(rows, key=lambda row: row["epe"]),
        "reference": search.rows[tuple(REFERENCE.values())]["spec"],
        **made(),
        "settings": rows,
    }
    write(result, arguments.out)
    print(rows[0])


if __name__ == "__main__":
    main()
