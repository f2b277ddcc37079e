"""``golden.safetensors``: a small pair and what the model made of it when it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor
from torch.nn import functional as F

from polzoo.config import GOLDEN
from polzoo.errors import PolzooError
from polzoo.model import StereoModel
from polzoo.settings import POLARITY, maps_of
from polzoo.weights import read

MAX_BYTES = 100_000
TOLERANCE = {"cpu": 1e-2}
"""Pixels that the 99.9th percentile of |difference| may reach, by kind of device; elsewhere ``TOLERANCE_GPU``."""
TOLERANCE_GPU = 5e-2

_HEIGHT, _WIDTH = 64, 96
_NAMES = {"left", "right", "polarity", "disparity"}


def pack(model: StereoModel) -> bytes:
    """A golden file of a model as it was re-read from disk: trainable form, eval mode, CPU, float32.

    Raises:
        PolzooError: its output is not finite, or the file would be larger than 100 kB.
    """
    left, right = _scene()
    polarity = torch.tensor([POLARITY[model.settings.input.analysers]])
    found = {"left": left, "right": right, "polarity": polarity, "disparity": _run(model, left, right, polarity)}
    if not bool(torch.isfinite(found["disparity"]).all()):
        raise PolzooError("cannot save: the model's disparity of a small test pair is not finite; its weights diverged")
    data = safetensors.save(found)
    if len(data) > MAX_BYTES:
        raise PolzooError(f"the golden file has {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def deviation(model: StereoModel, folder: Path, sha256: str) -> float:
    """99.9th percentile over all pixels of |disparity now − disparity when written|, in pixels.

    Raises:
        PolzooError: the golden file is missing, damaged or not one of ours.
    """
    kept = read(folder, GOLDEN, sha256)
    fits = kept.keys() == _NAMES and kept["left"].shape == kept["right"].shape and kept["left"].dtype == torch.uint8
    if not fits or kept["disparity"].shape[-2:] != kept["left"].shape[-2:]:
        raise PolzooError(f"{folder / GOLDEN} does not hold left, right (uint8), polarity and disparity")
    found = _run(model, kept["left"], kept["right"], kept["polarity"])
    return float(torch.quantile((found - kept["disparity"]).abs().flatten().double(), 0.999))


def tolerance(device: str | torch.device) -> float:
    """What ``deviation`` may be on a device."""
    return TOLERANCE.get(torch.device(device).type, TOLERANCE_GPU)


def _run(model: StereoModel, left: Tensor, right: Tensor, polarity: Tensor) -> Tensor:
    """Disparity on the CPU of a uint8 pair, in float32 proper: no TF32, no bfloat16 matmul, no autocast."""
    device = next(iter(model.state_dict().values())).device
    views = [view.to(device).float() / 255 for view in (left, right)]
    maps = {name: _map(name, *views) for name in maps_of(model.fusion.needs)}
    torch_backends: Any = torch.backends
    cuda, cudnn, mkldnn = torch_backends.cuda, torch_backends.cudnn, torch_backends.mkldnn
    backends = [cuda.matmul, cudnn.conv, mkldnn.matmul, mkldnn.conv]
    kept = [one.fp32_precision for one in backends]
    try:
        for one in backends:
            one.fp32_precision = "ieee"
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            return model(*views, polarity=polarity.to(device), polarization=maps).disparity.float().cpu()
    finally:
        for one, before in zip(backends, kept, strict=True):
            one.fp32_precision = before


def _map(name: str, left: Tensor, right: Tensor) -> Tensor:
    """A stand-in for a polarization map that the fusion declares, made of its view: 3 channels of "stokes", else 1."""
    kind, _, side = name.rpartition("_")
    view = left if side == "left" else right
    return view if kind == "stokes" else view.mean(1, keepdim=True)


def _scene() -> tuple[Tensor, Tensor]:
    """A textured slanted plane, 4 to 12 px, with a pane that is brighter to the left camera: uint8 (1, 3, H, W)."""
    noise = torch.Generator().manual_seed(2024)
    coarse, fine = (torch.rand(1, 3, _HEIGHT // n, _WIDTH // n, generator=noise) for n in (8, 2))
    size = (_HEIGHT, _WIDTH)
    texture = 0.5 * F.interpolate(coarse, size, mode="bilinear") + 0.4 * F.interpolate(fine, size, mode="bilinear")
    y, x = torch.meshgrid(torch.linspace(-1, 1, _HEIGHT), torch.linspace(-1, 1, _WIDTH), indexing="ij")
    disparity = 8 + 4 * y
    grid = torch.stack([x - 2 * disparity / (_WIDTH - 1), y], -1).unsqueeze(0)
    left = F.grid_sample(texture, grid, padding_mode="reflection", align_corners=True)
    pane = ((x.abs() < 0.5) & (y.abs() < 0.6)).float()
    views = left + 0.1 * pane, texture
    first, second = ((255 * view).round().clamp(0, 255).to(torch.uint8) for view in views)
    return first, second
