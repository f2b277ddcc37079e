"""Convolutional encoders that backbones share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]

NORMS: dict[str, Norm] = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
    "group": lambda channels: nn.GroupNorm(1 if channels % 8 else channels // 8, channels),
    "none": lambda channels: nn.Identity(),
}
"""Normalisations by the name that options use; RAFT's groups have 8 channels."""


class ResidualBlock(nn.Module):
    """3×3(stride) – norm – ReLU – 3×3 – norm, plus the input (projected where the shape changes), ReLU.

    ``inner_relu`` adds the ReLU before the sum that RAFT's own block has.
    """

    norms = (("conv1", "norm1"), ("conv2", "norm2"))

    def __init__(self, inputs: int, outputs: int, norm: Norm, stride: int = 1, inner_relu: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm2 = norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.inner = nn.ReLU(inplace=True) if inner_relu else nn.Identity()
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.inner(self.norm2(self.conv2(y)))
        return self.relu(y + self.skip(x) if torch.is_grad_enabled() else y.add_(self.skip(x)))


def stage(inputs: int, outputs: int, norm: Norm, stride: int = 1, inner_relu: bool = False) -> nn.Sequential:
    """Two residual blocks, the first with the stride."""
    first = ResidualBlock(inputs, outputs, norm, stride, inner_relu)
    return nn.Sequential(first, ResidualBlock(outputs, outputs, norm, 1, inner_relu))


class ResidualTrunk(nn.Sequential):
    """7×7 stem and residual stages of two blocks each: (B, 3, H, W) → (B, widths[-1], H/s, W/s).

    Args:
        widths: channels of the stem and the first stage, then of each further stage.
        strides: stride of the stem, then of the first block of each stage.
    """

    def __init__(
        self, widths: Sequence[int], strides: Sequence[int], norm: Norm, inputs: int = 3, inner_relu: bool = False
    ) -> None:
        stem = [nn.Conv2d(inputs, widths[0], 7, strides[0], 3), norm(widths[0]), nn.ReLU(inplace=True)]
        before = (widths[0], *widths)
        stages = [stage(i, o, norm, s, inner_relu) for i, o, s in zip(before, widths, strides[1:], strict=False)]
        super().__init__(nn.Sequential(*stem), *stages)

    def forward(self, x: Tensor) -> Tensor:  # a loop in a loop would keep each stage's input until its end
        for layer in (layer for stage in self for layer in stage):  # pyright: ignore[reportGeneralTypeIssues]
            x = layer(x)
        return x


class ContextEncoder(nn.Module):
    """RAFT-Stereo's context network: a trunk, further levels at half the size each, and two heads per level.

    Args:
        hidden_dims: channels per GRU level, finest first, of the hidden start and of the context alike.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], norm: Norm, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        width = widths[-1]
        self.trunk = ResidualTrunk(widths, strides, norm, inner_relu=True)
        self.coarser = nn.ModuleList(stage(width, width, norm, 2, inner_relu=True) for _ in hidden_dims[1:])

        def head(level: int, outputs: int) -> nn.Module:
            out = nn.Conv2d(width, outputs, 3, padding=1)
            return nn.Sequential(ResidualBlock(width, width, norm, inner_relu=True), out) if level < 2 else out

        self.hidden = nn.ModuleList(head(*item) for item in enumerate(hidden_dims))
        self.context = nn.ModuleList(head(*item) for item in enumerate(hidden_dims))

    def forward(self, seen: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The trunk's features → (hidden, context) of every level, finest first, before any activation."""
        levels = [seen]
        for further in self.coarser:
            levels.append(further(levels[-1]))
        hidden = [head(x) for head, x in zip(self.hidden, levels, strict=True)]
        return hidden, [head(x) for head, x in zip(self.context, levels, strict=True)]
