"""What a training step costs besides its arithmetic: the loader, the log, the state, starting again.

    python benchmarks/training.py --out benchmarks/results/training.json

Times one recipe with the engine's own step: on one batch kept in memory and on batches from the loader, interleaved in
rounds; then the log's line with its events, a save, and a resume from it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import torch

from polzoo.data.loader import StepSampler, loader
from polzoo.recipes import state
from polzoo.recipes.config import find, read
from polzoo.recipes.engine import make_accelerator, take_step
from polzoo.recipes.inherit import settings
from polzoo.recipes.log import Log
from polzoo.recipes.make import make_dataset, make_recipe
from polzoo.recipes.optimise import optimiser, set_modes
from polzoo.recipes.state import Training


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", default="polstereo-nano")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=6, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config = read(find(given.recipe), settings(given.set))
    accelerator = make_accelerator(config)
    recipe, _ = make_recipe(config.model_copy(update={"init": None}), None)
    recipe.to(accelerator.device)
    run = Training(config, 1, recipe.model, *optimiser(recipe, config))
    wrapped, optimizer = accelerator.prepare_model(recipe), accelerator.prepare_optimizer(run.optimizer)
    set_modes(wrapped, recipe.model, config, 0)
    dataset = make_dataset(config)

    def timed(batches, count: int) -> tuple[float, float]:
        """Seconds of a step by the clock, and of this process alone: where cores are shared, workers slow it down."""
        began, own = time.perf_counter(), time.process_time()
        for _ in range(count):
            take_step(accelerator, wrapped, recipe.model, optimizer, batches, config, 0)
        return (time.perf_counter() - began) / count, (time.process_time() - own) / count

    total = (given.rounds + 1) * given.steps + 1
    sampler = StepSampler(len(dataset), config.batch_size, config.seed, range(total))
    with closing(loader(dataset, sampler, config.workers, config.augment)) as source:
        kept = itertools.repeat(next(source))
        for batches in (kept, source):  # warm-up: workers fill their queues
            timed(batches, given.steps)
        pairs = [(timed(kept, given.steps), timed(source, given.steps)) for _ in range(given.rounds)]
    step = median(one for (one, _), _ in pairs)
    found = {
        "recipe": config.name,
        "batch_size": config.batch_size,
        "workers": config.workers,
        "step_cached_s": step,
        "step_with_loader_s": median(two for _, (two, _) in pairs),
        "loader_ratio": median(two / one for (one, _), (two, _) in pairs),
        "loader_ratio_own_cpu": median(two / one for (_, one), (_, two) in pairs),
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        log = Log(out, run, 0, 10**6, {}, "", silent=False)
        began = time.perf_counter()
        for i in range(1, 1 + 20 * config.log_every):
            log.write(i, {"loss": 1.0, "epe": 1.0}, 1.0, [1e-3, 1e-3], 0.0)
        found["log_s_per_step"] = (time.perf_counter() - began) / (20 * config.log_every)
        found["log_share"] = found["log_s_per_step"] / step
        began = time.perf_counter()
        state.save(out / "state", 1, run)
        found["save_s"] = time.perf_counter() - began
        began = time.perf_counter()
        state.resume(out / "state", run)
        found["resume_s"] = time.perf_counter() - began
    where = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    where |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    where |= {"device": accelerator.device.type, "date": time.strftime("%Y-%m-%d")}
    text = json.dumps({**found, "machine": where}, indent=2)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
