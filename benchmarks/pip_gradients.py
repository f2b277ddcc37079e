"""How hard each term of iteration pruning pulls at the update cell, and whether it pulls where the truth does.

    OMP_NUM_THREADS=1 python benchmarks/pip_gradients.py pipstereo-i8 --out benchmarks/results/pip_gradients.json

At the start of every stage, the student being its truncated teacher: the norm of each term's gradient, and its cosine
with that of the final disparity's term against the truth. Medians over the pairs.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from statistics import median

import torch
from pip_step import pruning
from record import made, write
from torch import Tensor

from polzoo.data.loader import collate
from polzoo.spec import parse_part
from polzoo.zoo import instantiate

ONE = {"cum_weight": 0.0, "disp_weight": 0.0, "hid_weight": 0.0}
TERMS = {
    "final": {**ONE, "disp_weight": 1.0},
    "every step": {**ONE, "disp_weight": 1.0, "gamma": 0.9},
    "cumulative": {**ONE, "cum_weight": 1.0},
    "cumulative, right teacher": {**ONE, "cum_weight": 1.0, "trust": 1.0},
    "hidden": {**ONE, "hid_weight": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", default="synthetic(seed=41,length=8,height=128,width=160,max_disparity=32)")
    parser.add_argument("--stages", type=int, nargs="+", default=[32, 16, 8, 4, 2, 1])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    dataset = instantiate("dataset", parse_part("dataset", given.data))
    batches = [collate([dataset[index]]) for index in range(len(dataset))]
    rows = [row for n, k in itertools.pairwise(given.stages) for row in stage(given.model, n, k, batches)]
    for row in rows:
        print(f"{row['n']:>2} to {row['k']:<2} {row['term']:<26} {row['norm']:8.3f} {row['cosine']:6.2f}")
    if given.out:
        write({**made(), "model": given.model, "data": given.data, "rows": rows}, given.out)


def stage(name: str, n: int, k: int, batches: list[dict[str, Tensor]]) -> list[dict]:
    """A row for each term of one stage."""
    found = {term: pulls(name, n, k, options, batches) for term, options in TERMS.items()}
    return [
        {
            "n": n,
            "k": k,
            "term": term,
            "norm": median(float(g.norm()) for g in gradients),
            "cosine": median(
                float(torch.cosine_similarity(g, truth, 0)) for g, truth in zip(gradients, found["final"], strict=True)
            ),
        }
        for term, gradients in found.items()
    ]


def pulls(name: str, n: int, k: int, options: dict, batches: list[dict[str, Tensor]]) -> list[Tensor]:
    """The gradient of one term with respect to the update cell, all parameters in a row, for each batch."""
    pip = pruning(name, n, k, options)
    trained = list(pip.model.update.parameters())
    each = [torch.autograd.grad(pip(batch)["loss"], trained, materialize_grads=True) for batch in batches]
    return [torch.cat([one.flatten() for one in found]) for found in each]


if __name__ == "__main__":
    main()
