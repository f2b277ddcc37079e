"""Training: a recipe, its data and its optimiser, resumable at any step, on what accelerate finds."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, distributed

from polzoo import checkpoint, processes
from polzoo.data.formats import encode_image
from polzoo.data.loader import StepSampler, loader
from polzoo.errors import PolzooError
from polzoo.interfaces import Recipe
from polzoo.model import StereoModel
from polzoo.recipes import pictures, state
from polzoo.recipes.average import Average
from polzoo.recipes.config import Init, TrainingConfig, find, read, write
from polzoo.recipes.initialise import Start
from polzoo.recipes.log import Log
from polzoo.recipes.make import make_dataset, make_recipe
from polzoo.recipes.optimise import drop_frozen_gradients, optimiser, set_modes, thawing
from polzoo.recipes.sharded import clip, shard, whole
from polzoo.recipes.state import Training
from polzoo.recipes.teacher import pinned
from polzoo.zoo import build

Batch = dict[str, Tensor]


def train(config: TrainingConfig, out: Path, *, resume: bool = False, stop_after: int | None = None) -> Path:
    """Run a recipe and write ``out/checkpoint``. Under torchrun every process calls this.

    Args:
        config: the validated recipe file.
        out: folder of this run: ``log.jsonl``, ``recipe.toml``, ``init.txt`` (where every tensor came from),
            TensorBoard's events, ``pictures/``, ``state/``, ``checkpoint/``.
        resume: go on from the newest state, to the same losses as a run that was never stopped.
        stop_after: leave after this step, with the state saved and a checkpoint of what there is.

    Returns:
        the checkpoint folder.

    Raises:
        PolzooError: data without truth, a state of another recipe or number of processes, a run that is already
            there, losses not finite, memory that does not suffice, a disk that cannot be written.
    """
    config, states = pinned(config), out / "state"
    if state.exists(states) and not resume:
        raise PolzooError(f"{out} holds a run already: add --resume to go on with it, or --out for another folder")
    if stop_after is not None and state.exists(states) and state.reached(states) > stop_after:
        raise PolzooError(f"{out} is at step {state.reached(states)} already, beyond --stop-after {stop_after}")
    fresh = not state.exists(states)  # a resumed run has its weights: no need of those it started from
    source = first_weights(config.init, out) if config.init and fresh else None
    accelerator = make_accelerator(config)
    recipe, start = make_recipe(config, source)
    end = min(stop_after or config.steps, config.steps)
    run = _loop(accelerator, recipe, config, out, end, _notes(config, start))
    recipe.model.settings = recipe.model.settings.model_copy(update={"alpha_cap": recipe.alpha_cap(end)})
    with nullcontext() if run.average is None else run.average.applied():
        model = _whole(recipe.model, config)
        if accelerator.is_main_process:
            _write(model, out / "checkpoint", config, end)
    accelerator.wait_for_everyone()
    return out / "checkpoint"


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Processes, device and precision. Raises PolzooError where they are not what the config or torchrun asks for."""
    cuda = torch.cuda.is_available()
    if config.precision == "fp16" and not cuda:
        raise PolzooError("precision = 'fp16' needs a GPU; on a CPU: --set precision=bf16 (or no)")
    if config.precision == "fp16" and config.sharded:
        raise PolzooError("sharded = true scales no gradients, which precision = 'fp16' needs; take 'bf16'")
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a frozen or truncated part has no gradient
    processes.join(cpu=not cuda)
    accelerator = Accelerator(mixed_precision=config.precision, cpu=not cuda, kwargs_handlers=[unused])
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise PolzooError(f"torchrun started {started} processes and {accelerator.num_processes} found each other")
    if config.sharded and started == 1:
        raise PolzooError("sharded = true spreads a model over processes, and there is one; use --nproc 2 or more")
    return accelerator


def _loop(
    accelerator: Accelerator, recipe: Recipe, config: TrainingConfig, out: Path, end: int, notes: Mapping[str, str]
) -> Training:
    """Optimise up to step ``end``, from the newest state if there is one; save states on the way."""
    states, main, rank, world = out / "state", accelerator.is_main_process, *_ranks(accelerator)
    recipe.to(accelerator.device)
    if config.sharded:
        shard(recipe, accelerator.device.type)
    run = Training(config, world, recipe.model, *optimiser(recipe, config), accelerator.scaler)
    run.average = None if config.ema is None else Average(recipe.model, config.ema)
    start = state.resume(states, run) if state.exists(states) else 0
    if config.compile:
        recipe.compile()
    wrapped = recipe if config.sharded else accelerator.prepare_model(recipe)
    optimizer = accelerator.prepare_optimizer(run.optimizer)
    set_modes(wrapped, recipe.model, config, start)
    dataset = make_dataset(config)
    micro = range(start * config.accumulate, end * config.accumulate)
    sampler = StepSampler(len(dataset), config.batch_size, config.seed, micro, rank, world)
    log, bad = Log(out, run, start, end, notes, _headline(recipe, accelerator, config), silent=not main), 0
    with closing(loader(dataset, sampler, config.workers, config.augment)) as source:
        batches = _Timed(source)
        for step in range(start + 1, end + 1):
            with explained(config, f"step {step}"):  # all of it: the death of a worker interrupts whatever runs
                seeded(config.seed, step, rank)
                losses, norm = take_step(accelerator, wrapped, recipe.model, optimizer, batches, config, step - 1)
                run.scheduler.step()
                if finite(losses, norm):
                    bad = 0
                else:
                    bad, run.skipped = bad + _hopeless(losses, run.scaler), run.skipped + 1
                if bad == config.patience:
                    what = "gradient" if math.isfinite(losses["loss"]) else "loss"
                    raise PolzooError(
                        f"the {what} was not finite for {bad} batches up to step {step}; lower options.lr"
                    )
                if run.average is not None:
                    run.average.update(step)
                log.write(step, losses, norm, [float(rate) for rate in run.scheduler.get_last_lr()], batches.spent())
                drawn = _draws(config, step)
                if drawn and main:
                    picture = pictures.draw(recipe.model, dataset, accelerator.device, recipe.alpha_cap(step))
                    log.picture(step, encode_image(picture), *picture.shape[:2])
                if drawn or thawing(config, step):
                    set_modes(wrapped, recipe.model, config, step)
                if (config.sharded or main) and (step % config.save_every == 0 or step == end):
                    state.save(states, step, run, writes=main)
    return run


def take_step(
    accelerator: Accelerator,
    wrapped: torch.nn.Module,
    model: StereoModel,
    optimizer,
    batches: Iterator[Batch],
    config: TrainingConfig,
    done: int,
) -> tuple[dict[str, float], float]:
    """One optimisation step after ``done``: (losses, gradient norm), the same on every process.

    Where they are not :func:`finite`, weights, buffers and optimiser stay as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]  # a forward pass moves running statistics
    total: dict[str, Tensor] = {}
    for part in range(config.accumulate):
        batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in next(batches).items()}
        last = part == config.accumulate - 1
        with nullcontext() if last or config.sharded else accelerator.no_sync(wrapped):
            with accelerator.autocast() if config.sharded else nullcontext():  # prepare_model() wraps what is whole
                losses = wrapped({**batch, "step": done})
            accelerator.backward(losses["loss"] / config.accumulate)
        for name, value in losses.items():
            total[name] = total.get(name, 0) + value.detach().float() / config.accumulate
    drop_frozen_gradients(model, config, done)
    norm = _clip(accelerator, wrapped, config)
    values = torch.stack(list(total.values()))
    if accelerator.num_processes > 1:
        distributed.all_reduce(values)
        values /= accelerator.num_processes
    losses = dict(zip(total, values.tolist(), strict=True))
    if not finite(losses, norm):
        optimizer.zero_grad(set_to_none=True)  # the step that follows changes nothing but a loss scale that overflowed
        for buffer, before in buffers:
            buffer.copy_(before)
    optimizer.step()
    return losses, norm


def finite(losses: Mapping[str, float], norm: float) -> bool:
    """Whether a step of these was taken."""
    return math.isfinite(norm) and math.isfinite(losses["loss"])


def _hopeless(losses: Mapping[str, float], scaler: torch.amp.GradScaler | None) -> bool:
    """Whether a step that was not taken is a bad sign; an overflow that halves the loss scale of fp16 is none, down to
    a scale of 1."""
    return scaler is None or scaler.get_scale() < 1 or not math.isfinite(losses["loss"])


def _clip(accelerator: Accelerator, wrapped: torch.nn.Module, config: TrainingConfig) -> float:
    """Scale the gradients down to a norm of ``config.clip``; returns the norm that they had."""
    if config.sharded:
        return clip(wrapped.parameters(), config.clip)
    norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.clip)
    assert norm is not None  # it is under DeepSpeed without an engine, which is not used here
    return float(norm)


class _Timed(Iterator[Batch]):
    """Batches, and the seconds that were spent waiting for them."""

    def __init__(self, source: Iterator[Batch]) -> None:
        self.source, self.seconds = source, 0.0

    def __next__(self) -> Batch:
        began = time.monotonic()
        batch = next(self.source)
        self.seconds += time.monotonic() - began
        return batch

    def spent(self) -> float:
        """Since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def seeded(seed: int, step: int, rank: int) -> None:
    """Random numbers of a step are a function of these three, so that there is no state of them to save."""
    digest = hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:7], "little"))


def _ranks(accelerator: Accelerator) -> tuple[int, int]:
    return accelerator.process_index, accelerator.num_processes


def _draws(config: TrainingConfig, step: int) -> bool:
    """Whether pictures are due; a sharded model is never whole enough to draw them."""
    return bool(config.pictures_every) and step % config.pictures_every == 0 and not config.sharded


def _headline(recipe: Recipe, accelerator: Accelerator, config: TrainingConfig) -> str:
    trained = sum(p.numel() for p in recipe.model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in recipe.model.parameters())
    world = accelerator.num_processes
    pairs = f"{world * config.batch_size * config.accumulate} pairs a step"
    how = f"{world} process{'es' if world > 1 else ''} on {accelerator.device.type}"
    return f"{config.name}: {trained:,} of {every:,} parameters, {pairs}, {how}"


@contextmanager
def explained(config: TrainingConfig, where: str) -> Iterator[None]:
    """A PolzooError that names the knob, where memory does not suffice or a data loader process dies."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if str(error).startswith("DataLoader worker"):
            raise PolzooError(
                f"a data loader process died in {where}: {str(error).rstrip('. ')}; where memory"
                f" or shared memory (/dev/shm) ran out, take fewer workers than {config.workers} or smaller batches"
                " (workers = 0 loads in the training's own process); --resume goes on"
            ) from error
        if not _memory(error):
            raise
        raise PolzooError(f"out of memory in {where}; {_knobs(config)}") from error


def _memory(error: Exception) -> bool:
    """Whether a step failed for want of memory, on whatever device."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in said)


def _knobs(config: TrainingConfig) -> str:
    half = "" if config.precision != "no" else ", or precision = 'bf16'"
    if config.batch_size == 1:
        return f"try fewer iterations than {config.iterations}, smaller pairs in data{half}"
    parts = -(-config.batch_size // 2), 2 * config.accumulate
    return f"try batch_size = {parts[0]} with accumulate = {parts[1]}, which is the same step{half}"


# ------------------------------------------------------------------------------------------------ before and after


def first_weights(init: Init, out: Path) -> str:
    """The checkpoint to start from; a recipe's is made first, in ``out/init``, where a killed run finds it again."""
    if init.recipe is None:
        return str(init.source)
    made = out / "init" / "checkpoint"
    if not made.is_dir():
        end = f" to step {init.steps}" if init.steps else ""
        print(f"first part: recipe {init.recipe}{end}, in {out / 'init'}", file=sys.stderr, flush=True)
        train(read(find(init.recipe)), out / "init", resume=True, stop_after=init.steps)
    return f"dir:{made}"


def _parent(config: TrainingConfig) -> str | None:
    init = config.init
    if init is None or init.recipe is None:
        return init and init.source
    return f"recipe {init.recipe}" + (f", {init.steps} steps" if init.steps else "")


def _notes(config: TrainingConfig, start: Start | None) -> dict[str, str]:
    notes = {"recipe.toml": write(config)}
    if start is not None:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"init {start.summary()}", file=sys.stderr, flush=True)
        notes["init.txt"] = "\n".join([f"from {start.source}", *start.lines(), ""])
    return notes


def _whole(model: StereoModel, config: TrainingConfig) -> StereoModel:
    """The model on its own; what is sharded is put together, which every process has to take part in."""
    if not config.sharded:
        return model
    full = {name: whole(value).cpu() for name, value in model.state_dict().items()}
    alone = build(model.spec, model.settings, fresh=False)
    alone.load_state_dict(full)
    return alone


def _write(model: StereoModel, folder: Path, config: TrainingConfig, steps: int) -> None:
    data = config.data if isinstance(config.data, str) else list(config.data)
    made = {"recipe": config.name, "data": data, "steps": steps, "seed": config.seed, "parent": _parent(config)}
    provenance = {key: value for key, value in made.items() if value is not None}
    checkpoint.save(model, folder, summary=config.summary, provenance=provenance, recipe=write(config))
