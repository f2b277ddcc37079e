"""Where refinement pays: maps (B, 1, h, w) on the feature grid, larger where more important."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.interfaces import Encoding, Step
from polzoo.options import Options
from polzoo.precision import at_least_float32


class Attention:
    """The backbone's own map; of Selective-Stereo's the share of the small kernel, meant to be high at fine detail.

    Source: Wang et al., "Selective-Stereo", CVPR 2024. That high attention is where refinement pays is a claim to be
    measured, so there is ``attention-inverse``.
    """

    sign = 1

    def __init__(self, options: Options) -> None:
        self.options = options

    def __call__(self, encoding: Encoding, disparity: Tensor, step: Step) -> Tensor:
        if encoding.importance is None:
            raise PolzooError(
                "the backbone has no attention map; importances of any model: gradient, motion, auto; gate where the"
                " fusion has one"
            )
        return self.sign * at_least_float32(encoding.importance)


class InverseAttention(Attention):
    """Minus the backbone's own map: high where Selective-Stereo takes the large kernel, away from fine detail."""

    sign = -1


class Gradient:
    """Edges of the left image: Sobel's magnitude of its brightness, averaged over each cell of the feature grid."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __call__(self, encoding: Encoding, disparity: Tensor, step: Step) -> Tensor:
        if step.memory is None:
            raise PolzooError("the importance 'gradient' reads the image, and this step has no memory of its call")
        image = at_least_float32(step.memory.pair.left).mean(1, keepdim=True)
        smooth, slope = image.new_tensor([1.0, 2.0, 1.0]) / 4, image.new_tensor([-1.0, 0.0, 1.0]) / 2
        kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)]).unsqueeze(1)
        edges = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernels).square().sum(1, keepdim=True).sqrt()
        return F.avg_pool2d(edges, image.shape[-1] // disparity.shape[-1])


class Motion:
    """Magnitude of the last update that a pixel got, feature pixels; one that was left out keeps its own."""

    after_first = True
    """Nothing is known before a first step, which is therefore dense."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __call__(self, encoding: Encoding, disparity: Tensor, step: Step) -> Tensor:
        known = step.memory.update if step.memory is not None else None
        return torch.zeros_like(disparity) if known is None else known


class Gate:
    """The gate that the fusion recorded in the last step, high where it lets polarization in (``v2c``) or trusts the
    correlation (``v2``, ``dualvolume``); a pixel that was left out keeps its own."""

    after_first = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def __call__(self, encoding: Encoding, disparity: Tensor, step: Step) -> Tensor:
        gate = step.memory.gate if step.memory is not None else None
        if gate is not None:
            return at_least_float32(gate).mean(1, keepdim=True)
        if step.index or step.p:
            found = "gradient, motion" + (", attention" if encoding.importance is not None else "")
            raise PolzooError(f"the fusion records no gate in its steps, so there is none to go by; there are: {found}")
        return torch.zeros_like(disparity)


class Auto:
    """``attention`` where the backbone has it, else ``gradient``."""

    def __init__(self, options: Options) -> None:
        self.attention, self.gradient = Attention(options), Gradient(options)

    def __call__(self, encoding: Encoding, disparity: Tensor, step: Step) -> Tensor:
        source = self.gradient if encoding.importance is None else self.attention
        return source(encoding, disparity, step)
