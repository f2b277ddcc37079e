"""Training: a recipe, its data and its optimiser, resumable at any step, on what accelerate finds."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from polzoo import atomic, checkpoint
from polzoo.data.files import write_bytes
from polzoo.data.loader import StepSampler, loader
from polzoo.errors import PolzooError
from polzoo.interfaces import Recipe
from polzoo.model import StereoModel
from polzoo.recipes import state
from polzoo.recipes.config import Init, TrainingConfig, find, read, write
from polzoo.settings import InputBlock, Settings
from polzoo.spec import make_part, parse_part
from polzoo.zoo import build, instantiate, load

PATIENCE = 10  # batches in a row whose loss is not finite, before the run stops


def train(config: TrainingConfig, out: Path, *, resume: bool = False, stop_after: int | None = None) -> Path:
    """Run a recipe and write ``out/checkpoint``.

    Args:
        config: the validated recipe file.
        out: folder of this run: ``log.jsonl``, ``state/``, ``checkpoint/``.
        resume: go on from the newest state, to the same losses as a run that was never stopped.
        stop_after: leave after this step, with the state saved and a checkpoint of what there is.

    Returns:
        the checkpoint folder.

    Raises:
        PolzooError: data without truth, a state of another recipe, a run that is already there, losses not finite.
    """
    states = out / "state"
    if state.exists(states) and not resume:
        raise PolzooError(f"{out} holds a run already: add --resume to go on with it, or --out for another folder")
    if stop_after is not None and state.exists(states) and state.reached(states) > stop_after:
        raise PolzooError(f"{out} is at step {state.reached(states)} already, beyond --stop-after {stop_after}")
    fresh = not state.exists(states)  # a resumed run has its weights: no need of those it started from
    source = _source(config.init, out) if config.init and fresh else None
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    accelerator = Accelerator(mixed_precision=config.precision, cpu=not torch.cuda.is_available())
    recipe = _recipe(config, source)
    end = min(stop_after or config.steps, config.steps)
    _loop(accelerator, recipe, config, out, end)
    recipe.model.settings = recipe.model.settings.model_copy(update={"alpha_cap": recipe.alpha_cap(end)})
    if accelerator.is_main_process:
        provenance = {
            "recipe": config.name,
            "data": config.data,
            "steps": end,
            "seed": config.seed,
            "parent": _parent(config),
        }
        written = {key: value for key, value in provenance.items() if value is not None}
        checkpoint.save(
            recipe.model, out / "checkpoint", summary=config.summary, provenance=written, recipe=write(config)
        )
    accelerator.wait_for_everyone()
    return out / "checkpoint"


def _loop(accelerator: Accelerator, recipe: Recipe, config: TrainingConfig, out: Path, end: int) -> None:
    """Optimise up to step ``end``, from the newest state if there is one; save states on the way."""
    states = out / "state"
    optimizer, scheduler = _optimizer(recipe, config)
    start, recent = 0, []
    if state.exists(states):
        start, recent = state.resume(states, config, recipe.model, optimizer, scheduler)
    wrapped, prepared = accelerator.prepare(recipe, optimizer)
    wrapped.train()
    dataset = instantiate("dataset", parse_part("dataset", config.data))
    ranks = accelerator.process_index, accelerator.num_processes
    sampler = StepSampler(len(dataset), config.batch_size, config.seed, range(start, end), *ranks)
    log = _Log(out, config, start, end, recent, accelerator)
    bad = 0
    for step, batch in enumerate(loader(dataset, sampler, config.workers), start + 1):
        losses, norm = _step(accelerator, wrapped, prepared, batch, step - 1, config.clip)
        scheduler.step()
        bad = 0 if math.isfinite(norm) else bad + 1
        if bad == PATIENCE:
            raise PolzooError(f"the loss was not finite for {PATIENCE} batches up to step {step}; lower options.lr")
        log.write(step, losses, norm, [float(rate) for rate in scheduler.get_last_lr()])
        if accelerator.is_main_process and (step % config.save_every == 0 or step == end):
            state.save(states, step, config, recipe.model, optimizer, scheduler, log.recent)


def _step(
    accelerator: Accelerator, recipe, optimizer, batch: dict, done: int, clip: float
) -> tuple[dict[str, float], float]:
    """One optimisation step after ``done``: (losses, gradient norm). A norm not finite leaves the weights alone."""
    batch = {name: value.to(accelerator.device) for name, value in batch.items()}
    optimizer.zero_grad(set_to_none=True)
    losses = recipe({**batch, "step": done})
    accelerator.backward(losses["loss"])
    total = accelerator.clip_grad_norm_(recipe.parameters(), clip)
    assert total is not None  # it is under DeepSpeed without an engine, which prepare() always makes
    norm = float(total)
    if math.isfinite(norm):
        optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}, norm


def _source(init: Init, out: Path) -> str:
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


def _recipe(config: TrainingConfig, source: str | None) -> Recipe:
    torch.manual_seed(config.seed)
    model = build(config.model)
    settings = Settings(
        iterations=config.iterations, schedule_steps=config.iterations, input=InputBlock(needs=model.fusion.needs)
    )
    model.settings = settings
    if source is not None:
        _start_from(model, source)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):  # a 3-D convolution has no such layout
            module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    part = parse_part("recipe", config.recipe)
    part = make_part(
        "recipe", part.name, {**part.options.model_dump(mode="json", exclude_unset=True), **config.options}
    )
    warmup = getattr(part.options, "alpha_cap_warmup", 0)
    if warmup > config.steps / 2:
        raise PolzooError(f"alpha_cap_warmup={warmup} is more than half of the {config.steps} steps; lower it")
    return instantiate("recipe", part, model)


def _start_from(model: StereoModel, source: str) -> None:
    """Take every tensor of another checkpoint of the same model."""
    start = load(source)
    if start.spec != model.spec:
        raise PolzooError(f"init: {source!r} is {start.spec}, this recipe trains {model.spec}")
    model.load_state_dict(start.state_dict())


def _optimizer(recipe: Recipe, config: TrainingConfig) -> tuple[AdamW, OneCycleLR]:
    """AdamW and a one-cycle schedule that peaks at each group's own rate (one scalar maximum would level them)."""
    groups = recipe.parameter_groups()
    o = recipe.options
    optimizer = AdamW(groups, weight_decay=o.weight_decay, eps=o.eps)
    peaks = [group["lr"] for group in groups]
    scheduler = OneCycleLR(
        optimizer, peaks, config.steps + 10, pct_start=config.warmup, anneal_strategy="linear", cycle_momentum=False
    )
    return optimizer, scheduler


class _Log:
    """Progress on stderr, every logged step a line in ``log.jsonl``; a resumed run drops the lines it will redo.

    The file is made with its first line, so that a run that could not take a step leaves nothing behind.
    """

    def __init__(
        self,
        out: Path,
        config: TrainingConfig,
        start: int,
        end: int,
        recent: list[dict[str, float]],
        accelerator: Accelerator,
    ) -> None:
        self.config, self.start, self.end, self.accelerator = config, start, end, accelerator
        self.path, self.began, self.recent, self.opened = out / "log.jsonl", time.monotonic(), recent, False

    def write(self, step: int, losses: dict[str, float], norm: float, rates: list[float]) -> None:
        self.recent.append(losses)
        if step % self.config.log_every and step != self.config.steps:
            return
        mean = {name: sum(r[name] for r in self.recent) / len(self.recent) for name in losses}
        self.recent = []
        if not self.accelerator.is_main_process:
            return
        pace = (time.monotonic() - self.began) / (step - self.start)
        self._append(json.dumps({"step": step, **mean, "grad_norm": norm, "lr": rates, "s_per_step": pace}) + "\n")
        left = int(pace * (self.end - step))
        eta = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        shown = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
        print(f"step {step}/{self.end}  {shown}  {pace:.2f} s/step  ETA {eta}", file=sys.stderr, flush=True)

    def _append(self, line: str) -> None:
        if not self.opened:
            text = self.path.read_text() if self.start and self.path.exists() else ""
            whole = [old for old in text.splitlines(keepends=True) if old.endswith("\n")]  # a full disk cuts the last
            kept = [old for old in whole if json.loads(old)["step"] <= self.start]
            write_bytes(self.path, "".join(kept).encode())
            self.opened = True
        with atomic.writing(self.path), self.path.open("a") as file:
            file.write(line)
