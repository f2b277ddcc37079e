"""What a run would take: shapes, parameters, memory and time, from three steps on one batch. Nothing is written."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator

from polzoo.data.loader import StepSampler, loader
from polzoo.interfaces import Dataset, Recipe
from polzoo.memory import LivePeak, size
from polzoo.recipes import state
from polzoo.recipes.average import Average
from polzoo.recipes.config import TrainingConfig
from polzoo.recipes.engine import Batch, explained, make_accelerator, seeded, take_step
from polzoo.recipes.initialise import Start
from polzoo.recipes.log import clock
from polzoo.recipes.make import channels_last, make_dataset, make_recipe
from polzoo.recipes.optimise import optimiser, set_modes
from polzoo.recipes.state import Training
from polzoo.recipes.teacher import pinned
from polzoo.settings import maps_of
from polzoo.zoo import load

STEPS = 3


def dry_run(config: TrainingConfig, resumes: Path | None = None, world: int = 1) -> Iterator[str]:
    """Lines of the report, as they are known.

    Args:
        resumes: folder of the run that would be gone on with.
        world: processes that the run would have.

    Raises PolzooError for what would stop the run, such as a data set that is not there: which says what to put where.
    """
    config = pinned(config)
    if resumes is not None and not state.exists(resumes / "state"):
        yield f"resume      {resumes} has no state; the run would begin at step 1"
    elif resumes is not None:
        meta, _ = state.newest(resumes / "state", config, world)
        yield f"resume      {resumes} goes on after step {meta['step']:,}; what follows is measured on fresh weights"
        config = config.model_copy(update={"init": None})
    if config.precision == "fp16" and not torch.cuda.is_available():
        yield "precision   fp16 needs a GPU; what follows is measured in float32"
        config = config.model_copy(update={"precision": "no"})
    with explained(config, "the dry run"):
        yield from _report(config)


def _report(config: TrainingConfig) -> Iterator[str]:
    accelerator = make_accelerator(config)
    first = None if config.init is None else config.init.source
    recipe, start = make_recipe(config, first)
    recipe.to(accelerator.device)
    run = Training(config, 1, recipe.model, *optimiser(recipe, config))
    run.average = None if config.ema is None else Average(recipe.model, config.ema)
    yield from _model(recipe, config, run.optimizer)
    yield from _init(config, start)
    dataset = make_dataset(config)
    yield f"data        {config.data}: {len(dataset):,} pairs"
    batch, seconds = _batch(dataset, config)
    yield f"batch       {', '.join(f'{name} {tuple(value.shape)}' for name, value in batch.items())}"
    yield f"loading     {seconds:.2f} s a batch in one process; workers = {config.workers}"
    if start is not None:
        yield from _first_step(recipe, batch, start, accelerator.device)
    yield from _steps(recipe, run, accelerator, batch)


def _model(recipe: Recipe, config: TrainingConfig, optimizer: torch.optim.Optimizer) -> Iterator[str]:
    model = recipe.model
    trained = [p for p in model.parameters() if p.requires_grad]
    every = sum(p.numel() for p in model.parameters())
    yield f"model       {model.spec}"
    yield f"recipe      {config.recipe}, {config.steps:,} steps, {config.iterations} iterations"
    count = sum(p.numel() for p in trained)
    yield f"parameters  {count:,} trained, {every - count:,} frozen" + _thawed(model, config)
    for group in optimizer.param_groups:
        yield f"rate        {group['max_lr']:g} at its peak: {sum(p.numel() for p in group['params']):,} parameters"


def _thawed(model: torch.nn.Module, config: TrainingConfig) -> str:
    said = [f"{pattern} from step {math.ceil(share * config.steps) + 1:,}" for pattern, share in config.thaw.items()]
    return f"; {', '.join(said)}" if said else ""


def _init(config: TrainingConfig, start: Start | None) -> Iterator[str]:
    if start is not None:
        yield f"init        {start.summary()}"
        yield from (f"  {line}" for line in start.lines())
    elif config.init is not None:
        yield f"init        recipe {config.init.recipe!r} is run first; what follows is measured on fresh weights"


def _batch(dataset: Dataset, config: TrainingConfig) -> tuple[Batch, float]:
    """The first batch, and the seconds that it takes one process to make it."""
    sampler = StepSampler(len(dataset), config.batch_size, config.seed, range(1))
    began = time.monotonic()
    batch = next(loader(dataset, sampler, 0, config.augment))
    return batch, time.monotonic() - began


@torch.no_grad()
def _first_step(recipe: Recipe, batch: Batch, start: Start, device: torch.device) -> Iterator[str]:
    """How far the model is from the one whose weights it has, on the first pair."""
    pair = [batch[side][:1].to(device) for side in ("left", "right")]
    call = {"iterations": recipe.model.settings.iterations, "alpha_cap": recipe.alpha_cap(0)}
    source = load(start.source, device=device)
    channels_last(source)  # another layout adds up in another order
    models = (source, recipe.model)
    maps = [{name: batch[name][:1].to(device) for name in maps_of(model.fusion.needs)} for model in models]
    before, now = (
        model.eval()(*pair, polarity=batch["polarity"][:1], polarization=own, **call).disparity
        for model, own in zip(models, maps, strict=True)
    )
    yield f"step 0      differs from {start.source} by {float((before - now).abs().max()):.3g} px at most"


def _steps(recipe: Recipe, run: Training, accelerator: Accelerator, batch: Batch) -> Iterator[str]:
    """Memory of the first step, which also makes the optimiser's state, what is saved then, and the time of the
    others."""
    config = run.config
    set_modes(recipe, recipe.model, config, config.steps)  # all that ever is trained
    prepared = accelerator.prepare_optimizer(run.optimizer)
    wrapped, batches = accelerator.prepare_model(recipe), itertools.repeat(batch)

    def step() -> tuple[dict[str, float], float]:
        seeded(config.seed, 1, accelerator.process_index)
        return take_step(accelerator, wrapped, recipe.model, prepared, batches, config, config.steps - 1)

    peak, (losses, norm) = _peak(step, accelerator.device)
    average = {} if run.average is None else run.average.tensors
    held = size(recipe.state_dict().values()) + size(average.values())
    yield f"losses      {', '.join(f'{name} {value:.3f}' for name, value in losses.items())}; gradient norm {norm:.3f}"
    yield f"memory      {(peak + held) / 2**20:,.1f} MiB of tensors at the peak, on {accelerator.device.type}"
    parts = "weights, optimiser" + (", average" if average else "")
    yield f"state       {size(state.tensors(run).values()) / 2**20:,.1f} MiB on disk, two of them kept: {parts}"
    times = []
    for _ in range(STEPS - 1):
        began = time.monotonic()
        step()
        times.append(time.monotonic() - began)
    pace = min(times)
    yield f"time        {pace:.2f} s a step; {config.steps:,} steps take {clock(pace * config.steps)}"


def _peak(run: Callable[[], tuple[dict[str, float], float]], device: torch.device) -> tuple[int, tuple]:
    """Most bytes that are live in a step besides what was there before, and what it returns."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        found = run()
        return torch.cuda.max_memory_allocated(device) - before, found
    with LivePeak() as counter:
        found = run()
        return counter.most, found
