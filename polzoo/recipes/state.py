"""The resumable state of a run: tensors in safetensors, the rest in JSON; the two newest are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as pack

from polzoo import atomic
from polzoo.errors import PolzooError
from polzoo.recipes.config import TrainingConfig


def save(
    root: Path,
    step: int,
    config: TrainingConfig,
    model: torch.nn.Module,
    optimizer: Any,
    scheduler: Any,
    recent: list[dict[str, float]],
) -> None:
    """Write ``root/step-N`` whole, then drop all but it and the one before. ``recent``: losses not logged yet."""
    packed = optimizer.state_dict()
    tensors = {f"{i}.{name}": value.contiguous() for i, slot in packed["state"].items() for name, value in slot.items()}
    meta = {
        "step": step,
        "config": config.model_dump(mode="json"),
        "groups": packed["param_groups"],
        "scheduler": {k: v for k, v in scheduler.state_dict().items() if isinstance(v, int | float | list)},
        "rng": torch.get_rng_state().tolist(),
        "recent": recent,
    }
    with atomic.folder(root / f"step-{step:07d}") as folder:
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        (folder / "model.safetensors").write_bytes(pack(weights))  # save_file hides the system's error in its own
        (folder / "optimizer.safetensors").write_bytes(pack(tensors))
        (folder / "state.json").write_text(json.dumps(meta))
    for old in _states(root)[:-2]:
        shutil.rmtree(old, ignore_errors=True)


def exists(root: Path) -> bool:
    return bool(_states(root))


def reached(root: Path) -> int:
    """The step of the newest state."""
    return int(_states(root)[-1].name.removeprefix("step-"))


def resume(
    root: Path, config: TrainingConfig, model: torch.nn.Module, optimizer: Any, scheduler: Any
) -> tuple[int, list[dict[str, float]]]:
    """Put the newest state that can be read back; returns its step and the losses that were not logged yet.

    Raises PolzooError if none can be read, or if the recipe was another.
    """
    states = _states(root)
    for folder in reversed(states):
        try:
            meta, weights, tensors = _read(folder)
            break
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
            fault = e
    else:
        raise PolzooError(f"the state {states[-1]} cannot be read: {fault}")
    _same(meta["config"], config.model_dump(mode="json"), folder)
    model.load_state_dict(weights)
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": meta["groups"]})
    scheduler.load_state_dict(meta["scheduler"])
    torch.set_rng_state(torch.tensor(meta["rng"], dtype=torch.uint8))
    return meta["step"], meta["recent"]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    meta = json.loads((folder / "state.json").read_text())
    absent = {"step", "config", "groups", "scheduler", "rng", "recent"} - meta.keys()
    if absent:
        raise ValueError(f"state.json has no {sorted(absent)}")
    return meta, load_file(folder / "model.safetensors"), load_file(folder / "optimizer.safetensors")


FREE = {"workers", "log_every", "save_every", "summary"}
"""Keys that may change when a run is resumed: they do not touch the losses."""


def _same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    for key in before.keys() | now.keys():
        if key not in FREE and before.get(key) != now.get(key):
            raise PolzooError(f"cannot resume from {folder}: {key} was {before.get(key)!r} and is now {now.get(key)!r}")


def _states(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("step-*") if (p / "state.json").is_file())
