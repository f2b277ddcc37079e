"""The network that turns a raw cost volume into a geometry encoding volume, guided by the left image's features.

Source: Xu et al., "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023, §3.2; guidance: Bangunharcana et
al., "Correlate-and-Excite", IROS 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polzoo.backbones.layers import ConvNorm


class FeatureAttention(nn.Sequential):
    """Weighs the channels of a volume (B, C, D, h, w) at each pixel by features (B, F, h, w) of the same size."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__(ConvNorm(features, features // 2, 1), nn.Conv2d(features // 2, channels, 1))

    def forward(self, volume: Tensor, features: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(features)).unsqueeze(2) * volume


class Hourglass(nn.Module):
    """Three times half the size and back, (B, C, D, h, w) → the same; D, h and w are multiples of 8.

    Args:
        width: C; the levels have 2, 4 and 6 times as many channels.
        features: channels of the features at 1/8, 1/16 and 1/32 of the image's resolution.
    """

    def __init__(self, width: int, features: Sequence[int]) -> None:
        super().__init__()
        c0, c1, c2, c3 = width, 2 * width, 4 * width, 6 * width
        f8, f16, f32 = features
        self.down = nn.ModuleList(
            nn.Sequential(_conv(i, o, 3, 2), _conv(o, o)) for i, o in ((c0, c1), (c1, c2), (c2, c3))
        )
        self.attend = nn.ModuleList(FeatureAttention(c, f) for c, f in ((c1, f8), (c2, f16), (c3, f32)))
        self.up = nn.ModuleList(ConvNorm(i, o, norm=nn.BatchNorm3d, up=True) for i, o in ((c3, c2), (c2, c1)))
        self.merge = nn.ModuleList(nn.Sequential(_conv(2 * c, c, 1), _conv(c, c), _conv(c, c)) for c in (c2, c1))
        self.attend_up = nn.ModuleList(FeatureAttention(c, f) for c, f in ((c2, f16), (c1, f8)))
        self.out = nn.ConvTranspose3d(c1, c0, 4, 2, 1, bias=False)

    def forward(self, x: Tensor, features: Sequence[Tensor]) -> Tensor:
        levels = []
        for down, attend, seen in zip(self.down, self.attend, features, strict=True):
            x = attend(down(x), seen)
            levels.append(x)
        ways = zip(self.up, self.merge, self.attend_up, levels[1::-1], features[1::-1], strict=True)
        for up, merge, attend, skip, seen in ways:
            x = attend(merge(torch.cat([up(x), skip], 1)), seen)
        return self.out(x)


class Regulariser(nn.Module):
    """Raw costs (B, G, D, h, w) and features at 1/4 … 1/32 → geometry encoding volume (B, C, D, h, w) and the logits
    (B, D, h, w) of each candidate disparity.

    Args:
        groups: G.
        width: C.
        features: channels of the features, finest first.
    """

    def __init__(self, groups: int, width: int, features: Sequence[int]) -> None:
        super().__init__()
        self.stem = _conv(groups, width)
        self.attend = FeatureAttention(width, features[0])
        self.hourglass = Hourglass(width, features[1:])
        self.classifier = nn.Conv3d(width, 1, 3, padding=1, bias=False)

    def forward(self, costs: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        geometry = self.hourglass(self.attend(self.stem(costs), features[0]), features[1:])
        return geometry, self.classifier(geometry).squeeze(1)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, nn.BatchNorm3d)
