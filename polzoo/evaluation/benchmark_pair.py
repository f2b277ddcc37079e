"""The pair that models are measured on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.data.files import read_bytes
from polzoo.errors import PolzooError
from polzoo.evaluation.benchmark_result import Setting

SHIFT = 16
"""Disparity of the made pair, pixels."""


def pair(setting: Setting) -> tuple[Tensor, Tensor]:
    """Two views (1, 3, H, W), the same for every model: the given images, or a textured plane at ``SHIFT`` pixels.

    Raises:
        PolzooError: an image that cannot be read.
    """
    if setting.images is not None:
        left, right = (picture(Path(path), (setting.height, setting.width)) for path in setting.images)
        return left, right
    generator = torch.Generator().manual_seed(setting.seed)
    noise = torch.rand(1, 3, setting.height // 4 + 1, (setting.width + SHIFT) // 4 + 1, generator=generator)
    texture = F.interpolate(noise, (setting.height, setting.width + SHIFT), mode="bilinear", align_corners=False)
    return texture[..., : setting.width].contiguous(), texture[..., SHIFT:].contiguous()


def picture(path: Path, size: tuple[int, int]) -> Tensor:
    """An image file at this height and width, (1, 3, H, W) in [0, 1]."""
    pixels = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise PolzooError(f"{path} is no image")
    pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0) / 255
