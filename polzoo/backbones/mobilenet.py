"""MobileNetV2 as a feature pyramid: four resolutions, the coarse ones handed down to the fine ones.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; the way down as in Xu et
al., "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023.
"""

from __future__ import annotations

from torch import Tensor, nn

from polzoo.backbones.layers import ConvNorm, Merge

EXPANSION = 6


class Separable(nn.Module):
    """MobileNetV2's first block: 3×3 per channel, then 1×1."""

    norms = (("conv_dw", "bn1"), ("conv_pw", "bn2"))

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """1×1 to six times the channels, 3×3(stride) per channel, 1×1 back; added to the input where the shape is kept."""

    norms = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * inputs
        self.conv_pw = nn.Conv2d(inputs, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv_dw = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv_pwl = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6(inplace=True)
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.bn3(self.conv_pwl(self.act(self.bn2(self.conv_dw(y)))))
        return x + y if self.same else y


class MobileNetV2(nn.Module):
    """(B, 3, H, W) → maps at 1/2, 1/4, 1/8, 1/16 and 1/32; ``width`` channels in the stem, 32 as published.

    ``dims`` are their channels. The classifier's last 320 channels, which nothing reads here, are left out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        plan = (((w * 3 // 4, 2, 2),), ((w, 3, 2),), ((2 * w, 4, 2), (3 * w, 3, 1)), ((5 * w, 3, 2),))
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU6(inplace=True))
        self.dims = (w // 2, *(stages[-1][0] for stages in plan))
        self.blocks = nn.ModuleList([nn.Sequential(nn.Sequential(Separable(w, w // 2)))])
        before = w // 2
        for stages in plan:
            groups = []
            for outputs, count, stride in stages:
                inputs = (before, *(outputs for _ in range(count - 1)))
                strides = (stride, *(1 for _ in range(count - 1)))
                groups.append(
                    nn.Sequential(*(InvertedResidual(i, outputs, s) for i, s in zip(inputs, strides, strict=True)))
                )
                before = outputs
            self.blocks.append(nn.Sequential(*groups))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]


class FeaturePyramid(nn.Module):
    """(B, 3, H, W) → features at 1/4, 1/8, 1/16 and 1/32 of the resolution, each having seen all coarser ones.

    ``dims`` are their channels: 48, 64, 192, 160 at the published ``width`` of 32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = MobileNetV2(width)
        _, c4, c8, c16, c32 = self.trunk.dims
        self.dims = (2 * c4, 2 * c8, 2 * c16, c32)
        pairs = ((c32, c16), (2 * c16, c8), (2 * c8, c4))
        self.down = nn.ModuleList(Merge(coarse, fine, nn.InstanceNorm2d) for coarse, fine in pairs)
        self.out = ConvNorm(2 * c4, 2 * c4, norm=nn.InstanceNorm2d)

    def forward(self, image: Tensor) -> list[Tensor]:
        _, x4, x8, x16, x32 = self.trunk(image)
        x16 = self.down[0](x32, x16)
        x8 = self.down[1](x16, x8)
        return [self.out(self.down[2](x8, x4)), x8, x16, x32]
