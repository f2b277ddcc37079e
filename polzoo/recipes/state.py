"""The resumable state of a run: tensors in shards of safetensors, the rest in JSON; the two newest are kept.

There is no state of a random generator: the engine seeds every step, see :func:`polzoo.recipes.engine.seeded`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from polzoo import atomic
from polzoo.errors import PolzooError
from polzoo.recipes import shards
from polzoo.recipes.average import Average
from polzoo.recipes.config import TrainingConfig
from polzoo.recipes.inherit import flat
from polzoo.recipes.sharded import local, whole


@dataclass
class Training:
    """All that changes while a run lasts. ``recent``: losses not logged yet; ``skipped``: batches that were."""

    config: TrainingConfig
    world: int
    model: torch.nn.Module
    optimizer: Any
    scheduler: Any
    scaler: Any = None
    average: Average | None = None
    recent: list[dict[str, float]] = field(default_factory=list)
    skipped: int = 0


def save(root: Path, step: int, run: Training, *, writes: bool = True) -> None:
    """Write ``root/step-N`` whole, then drop all but it and the one before.

    Every process of a sharded run has to call this; the one that ``writes`` does so.
    """
    held = tensors(run)
    if not writes:
        return
    meta = {
        "step": step,
        "config": run.config.model_dump(mode="json", by_alias=True),
        "world": run.world,
        "groups": run.optimizer.state_dict()["param_groups"],
        "scheduler": {k: v for k, v in run.scheduler.state_dict().items() if isinstance(v, int | float | list)},
        "scaler": None if run.scaler is None else run.scaler.state_dict(),
        "recent": run.recent,
        "skipped": run.skipped,
    }
    with atomic.folder(root / f"step-{step:07d}") as folder:
        parts = shards.write(folder, held)
        (folder / "state.json").write_text(json.dumps({**meta, "parts": parts}))
    for old in _states(root)[:-2]:
        shutil.rmtree(old, ignore_errors=True)


def tensors(run: Training) -> dict[str, Tensor]:
    """What a state holds besides numbers: all weights, the optimiser's of those that are trained, the average."""
    found = {f"model.{name}": whole(value) for name, value in run.model.state_dict().items()}
    for index, slot in run.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{name}": whole(value) for name, value in slot.items()}
    if run.average is not None:
        found |= {f"average.{name}": whole(value) for name, value in run.average.tensors.items()}
    return found


def exists(root: Path) -> bool:
    return bool(_states(root))


def reached(root: Path) -> int:
    """The step of the newest state."""
    return int(_states(root)[-1].name.removeprefix("step-"))


def newest(root: Path, config: TrainingConfig, world: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the newest state that can be read holds.

    Raises PolzooError if none can be read, or if the recipe or the number of processes was another.
    """
    states = _states(root)
    for folder in reversed(states):
        try:
            meta, tensors = _read(folder)
            break
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
            fault = e
    else:
        raise PolzooError(f"the state {states[-1]} cannot be read: {fault}")
    same(meta["config"], config.model_dump(mode="json", by_alias=True), folder)
    if meta["world"] != world:
        raise PolzooError(
            f"cannot resume from {folder}: it was made by {meta['world']} processes and this run has {world}; "
            f"use --nproc {meta['world']}"
        )
    return meta, tensors


def resume(root: Path, run: Training) -> int:
    """Put the :func:`newest` state into ``run``; returns its step."""
    meta, tensors = newest(root, run.config, run.world)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _below("optimizer.", tensors).items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    own = run.model.state_dict()
    run.model.load_state_dict({name: local(value, own[name]) for name, value in _below("model.", tensors).items()})
    order = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    for index, slot in slots.items():
        slots[index] = {
            name: local(value, order[index]) if value.shape == order[index].shape else value
            for name, value in slot.items()
        }
    run.optimizer.load_state_dict({"state": slots, "param_groups": meta["groups"]})
    run.scheduler.load_state_dict(meta["scheduler"])
    if run.scaler is not None and meta["scaler"] is not None:
        run.scaler.load_state_dict(meta["scaler"])
    if run.average is not None:
        for name, value in _below("average.", tensors).items():
            run.average.tensors[name].copy_(local(value, run.average.tensors[name]))
    run.recent, run.skipped = meta["recent"], meta["skipped"]
    return meta["step"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


KEYS = {"parts", "step", "config", "world", "groups", "scheduler", "scaler", "recent", "skipped"}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    meta = json.loads((folder / "state.json").read_text())
    absent = KEYS - meta.keys()
    if absent:
        raise ValueError(f"state.json has no {', '.join(sorted(absent))}")
    return meta, shards.read(folder, meta["parts"])


FREE = {"workers", "log_every", "save_every", "pictures_every", "patience", "summary"}
"""Keys that may change when a run is resumed: they do not touch the losses."""


def same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """A PolzooError that names every key whose value was another."""
    one, other = flat(before), flat(now)
    keys = [key for key in sorted(one.keys() | other.keys()) if key.partition(".")[0] not in FREE]
    differ = [
        f"{key} was {one.get(key)!r} and is now {other.get(key)!r}" for key in keys if one.get(key) != other.get(key)
    ]
    if differ:
        raise PolzooError(f"cannot resume from {folder}: {'; '.join(differ)}")


def _states(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("step-*") if (p / "state.json").is_file())
