"""How often ``polzoo data check`` is right about a pair: as it is, and sabotaged in known ways.

    python benchmarks/data_check.py ../shared/data --scenes 32 --out benchmarks/results/data_check.json

Real pairs with ground truth, and scenes of the generator under several settings. Every pair is judged on its own.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from record import write

from polzoo.data.check import check
from polzoo.data.check_polarity import CLEAR, brighter
from polzoo.data.check_truth import Verdict, check_truth
from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.evaluation.options import RealPairsOptions
from polzoo.evaluation.real_pairs import RealPairs
from polzoo.evaluation.report import versions

SEED = 12_501


def truth(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Sample], Sample]:
    """A pair with another disparity."""

    def changed(sample: Sample) -> Sample:
        assert sample.disparity is not None
        return replace(sample, disparity=change(sample.disparity).astype(np.float32))

    return changed


def right(rows: int, columns: int) -> Callable[[Sample], Sample]:
    """A pair whose right view shows everything so much further down and to the right."""
    return lambda sample: replace(sample, right=np.roll(sample.right, (rows, columns), (1, 2)))


SABOTAGE: dict[str, tuple[str, Callable[[Sample], Sample]]] = {
    "disparity × 2": ("scale 0.5", truth(lambda d: 2 * d)),
    "disparity ÷ 2": ("scale 2", truth(lambda d: d / 2)),
    "sign flipped": ("sign", truth(lambda d: -d)),
    "views swapped": ("swapped", lambda sample: replace(sample, left=sample.right, right=sample.left)),
    "disparity + 2 px": ("shift -2", truth(lambda d: d + 2)),
    "disparity − 2 px": ("shift 2", truth(lambda d: d - 2)),
    "right view 2 px to the right": ("shift -2", right(0, 2)),
    "right view 2 px lower": ("rows 2", right(2, 0)),
    "disparity × 256": ("scale 0.00390625", truth(lambda d: 256 * d)),
    "disparity ÷ 256": ("scale 256", truth(lambda d: d / 256)),
}
"""What was done → what must be found (see :func:`said`), and how it is done."""

SCENES: dict[str, dict] = {
    "as it is": {},
    "no noise, no asymmetry": {"noise": False, "asymmetry": False},
    "no analysers": {"analysers": "none"},
    "crossed-parallel": {"analysers": "crossed-parallel"},
    "no glass": {"glass": 0.0},
    "glass in every scene": {"glass": 1.0},
    "128×256": {"height": 128, "width": 256},
    "plain surfaces": {"plain": 1.0},
}


def said(verdict: Verdict) -> str:
    """What the check says of one pair: "fits", "untold", or the kind of mistake and its amount."""
    if verdict.stored is None:
        return "untold"
    if verdict.change is None:
        return "fits"
    change = verdict.change
    amount = {"scale": change.scale, "shift": change.shift, "rows": change.lower}.get(change.kind)
    return change.kind if amount is None else f"{change.kind} {amount:g}"


def judged(samples: list[Sample], each: bool) -> Iterator[tuple[str, dict]]:
    """What was done → how many pairs were told right, and what was said of the others; with ``each``, pair by pair the
    agreement of the truth as stored and of the best."""
    for name, (wanted, spoil) in {"nothing": ("fits", lambda sample: sample), **SABOTAGE}.items():
        verdicts = [check_truth(spoil(sample)) for sample in samples]
        others = Counter(map(said, verdicts))
        row: dict = {"right": others.pop(wanted, 0), "pairs": len(samples), "others": dict(others)}
        if each:
            row["agreement"] = {s.name: [v.stored, v.best] for s, v in zip(samples, verdicts, strict=True)}
        yield name, row


def analysers(samples: list[Sample]) -> dict[str, int]:
    """Per pair that has analysers: does its glass speak for them, against them, or not at all?"""
    votes = Counter()
    for sample in samples:
        told = brighter(sample) if sample.polarity else None
        vote = 0.0 if told is None else sample.polarity * told
        votes["for" if vote > CLEAR else "against" if vote < -CLEAR else "not told"] += 1
    return dict(votes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of real pairs")
    parser.add_argument("--scenes", type=int, default=32, help="of each setting of the generator")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sources: dict = {"real pairs": RealPairs(RealPairsOptions(root=str(given.data)))}
    for name, options in SCENES.items():
        sources[name] = Synthetic(SyntheticOptions(seed=SEED, length=given.scenes, **options))
    found = {}
    for name, data in sources.items():
        samples = [data[index] for index in range(len(data))]
        rows = dict(judged(samples, each=name == "real pairs"))
        problems = [finding.kind for finding in check(data).problems]
        found[name] = {"judged": rows, "analysers": analysers(samples), "problems as it is": problems}
        print(f"{name}: problems of the set as it is: {problems or 'none'}; analysers: {found[name]['analysers']}")
        for what, row in rows.items():
            print(f"  {what}: {row['right']}/{row['pairs']}", row["others"] or "", flush=True)
    result = {"seed": SEED, "scenes of each setting": given.scenes, "versions": versions(), "found": found}
    if given.out:
        write(result, given.out)


if __name__ == "__main__":
    main()
