"""What a step of iteration pruning costs beside its parts: F frozen, N updates of the teacher, K of the student.

    OMP_NUM_THREADS=1 python benchmarks/pip_step.py pipstereo-i8 --out benchmarks/results/pip_step.json

The bound is 1.05 × (F + N·u + 3·K·u), u one update without gradients. F is the pair up to the loops and the upsampling
of one disparity. The runs are timed in turns, by this process's own CPU time on a CPU; figures are medians.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path
from statistics import median

import torch
from record import made, write

import polzoo
from polzoo.data.loader import collate
from polzoo.recipes.options import PipOptions
from polzoo.recipes.pip import Pip, lasting
from polzoo.recipes.study import ARMS
from polzoo.spec import parse_part
from polzoo.zoo import instantiate

MIXTURES = {"paper": ARMS["paper"], "shipped": ARMS["light, every step"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", default="synthetic(seed=41,height=128,width=160)")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--stages", type=int, nargs="+", default=[32, 16, 8, 4, 2, 1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    dataset = instantiate("dataset", parse_part("dataset", given.data))
    batch = collate([dataset[index] for index in range(given.batch_size)])
    rows = [
        {"loss": name, **stage(given.model, n, k, options, batch, given.rounds)}
        for n, k in itertools.pairwise(given.stages)
        for name, options in MIXTURES.items()
    ]
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    if given.out:
        about = {"model": given.model, "data": given.data, "batch_size": given.batch_size, "rounds": given.rounds}
        machine = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        write({**made(), **about, "machine": machine, "rows": rows}, given.out)


def stage(name: str, n: int, k: int, options: dict, batch: dict, rounds: int) -> dict[str, float]:
    """Medians in ms of one stage's parts, of its step and of what the bound allows."""
    pip = pruning(name, n, k, options)
    prepared = pip.prepare(batch)

    def refine(iterations: int) -> None:
        with torch.no_grad():
            pip.guide.refine(lasting(prepared, iterations))

    runs = {
        "prepare": lambda: pip.prepare(batch),
        "one": lambda: refine(1),
        "many": lambda: refine(n + 1),
        "step": lambda: pip(batch)["loss"].backward(),
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    for turn in range(rounds + 1):
        for key, run in runs.items():
            began = time.process_time()
            run()
            times[key] += [1000 * (time.process_time() - began)] if turn else []  # the first warms up
    prepare, one, many, step = (median(found) for found in times.values())
    update = (many - one) / n
    frozen = prepare + one - update
    bound = 1.05 * (frozen + (n + 3 * k) * update)
    return {"n": n, "k": k, "frozen": frozen, "update": update, "step": step, "bound": bound, "ratio": step / bound}


def pruning(name: str, n: int, k: int, options: dict) -> Pip:
    """A checkpoint at the start of being pruned from n iterations to k: the student is its truncated teacher."""
    teacher, student = polzoo.load(name), polzoo.load(name)
    teacher.settings = teacher.settings.model_copy(update={"iterations": n})
    student.settings = student.settings.model_copy(update={"iterations": k})
    return Pip(PipOptions(**options), student, teacher).train()


if __name__ == "__main__":
    main()
