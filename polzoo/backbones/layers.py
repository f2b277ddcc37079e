"""Convolution, norm and leaky ReLU as IGEV's networks stack them, in two and three dimensions."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """Convolution without bias, ``norm`` and leaky ReLU; three-dimensional where the norm is.

    ``up`` doubles the size instead: a transposed convolution, 4 wide with stride 2.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        norm: type[nn.Module] = nn.BatchNorm2d,
        up: bool = False,
    ) -> None:
        flat, solid = (nn.ConvTranspose2d, nn.ConvTranspose3d) if up else (nn.Conv2d, nn.Conv3d)
        kind = solid if norm is nn.BatchNorm3d else flat
        shape = (4, 2, 1) if up else (kernel, stride, kernel // 2)
        layers = {
            "conv": kind(inputs, outputs, *shape, bias=False),
            "bn": norm(outputs),
            "relu": nn.LeakyReLU(0.01, True),
        }
        super().__init__(OrderedDict(layers))


class Merge(nn.Module):
    """A coarse map at twice its size, joined with the ``outputs`` channels of a finer one: 2 · ``outputs`` channels."""

    def __init__(self, inputs: int, outputs: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.up = ConvNorm(inputs, outputs, norm=norm, up=True)
        self.conv = ConvNorm(2 * outputs, 2 * outputs, norm=norm)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.conv(torch.cat([self.up(coarse), fine], 1))


def instance_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Two 3×3 convolutions with instance norm, the first with the stride."""
    return nn.Sequential(
        ConvNorm(inputs, outputs, 3, stride, nn.InstanceNorm2d),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
