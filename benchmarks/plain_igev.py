"""Selective-IGEV in plain eager torch, as the official code computes it in test mode: what ``igev`` is measured by.

    python benchmarks/plain_igev.py --check                      # is this the official cost? (1 thread, a few minutes)
    python benchmarks/plain_igev.py --iterations 1 12 32 --out benchmarks/results/plain_igev.json     # igev beside it

Written from the paper and from what the official code does, in its default configuration. On purpose it does everything
twice that the official code does: every gate convolves state and context as one in every iteration, lookups go by
``grid_sample`` over two coordinates and assert that the second is one number, the mask head runs in every iteration,
and what has been read stays there. ``spec/backbones.md`` §4 says what that costs; ``--check`` compares.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from plain_raft import Context, halved, resized
from side_by_side import Forms, Official, main
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.convert import from_official
from polzoo.evaluation.benchmark_model import pair
from polzoo.evaluation.benchmark_result import Setting

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "backbones" / "reference_igev.py"
DEFAULT = {
    "n_gru_layers": 3,
    "n_downsample": 2,
    "hidden_dims": [128, 128, 128],
    "corr_levels": 2,
    "corr_radius": 4,
    "corr_implementation": "reg",
    "max_disp": 192,
    "slow_fast_gru": False,
}
LEVELS, RADIUS, GROUPS, DISPARITIES = 2, 4, 8, 48

OFFICIAL = Official({1: 5.6, 4: 9.4, 12: 17.6, 32: 40.3}, 359)


class Conv(nn.Module):
    """Convolution without bias, norm where there is one, leaky ReLU; ``up`` transposed, 4 wide with stride 2."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, norm: Any = nn.BatchNorm2d, up: bool = False
    ) -> None:
        super().__init__()
        solid = norm is nn.BatchNorm3d
        if up:
            kind, shape = (nn.ConvTranspose3d if solid else nn.ConvTranspose2d), (4, 2, 1)
        else:
            kind, shape = (nn.Conv3d if solid else nn.Conv2d), (kernel, stride, kernel // 2)
        self.conv, self.bn = kind(inputs, outputs, *shape, bias=False), norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.bn(x)
        return F.leaky_relu(x, 0.01)


class Up(nn.Module):
    """A coarse map at twice its size beside a finer one, then convolved."""

    def __init__(self, inputs: int, outputs: int, norm: Any = nn.InstanceNorm2d) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, outputs, norm=norm, up=True)
        self.conv2 = Conv(2 * outputs, 2 * outputs, norm=norm)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.conv2(torch.cat([self.conv1(coarse), fine], 1))


def stem(inputs: int, outputs: int) -> nn.Sequential:
    first, second = Conv(inputs, outputs, 3, 2, nn.InstanceNorm2d), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    return nn.Sequential(first, second, nn.InstanceNorm2d(outputs), nn.ReLU())


# ------------------------------------------------------------------------------------------------------------ features


class Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_dw, self.bn1 = nn.Conv2d(inputs, inputs, 3, 1, 1, 1, inputs, bias=False), nn.BatchNorm2d(inputs)
        self.conv_pw, self.bn2 = nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_dw(x)))
        return self.bn2(self.conv_pw(x))


class Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.conv_pw, self.bn1 = nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.conv_dw = nn.Conv2d(wide, wide, 3, stride, 1, 1, wide, bias=False)
        self.conv_pwl, self.bn2, self.bn3 = (
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.BatchNorm2d(outputs),
        )
        self.act = nn.ReLU6(inplace=True)
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.act(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.same else y


def inverted(inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    first = Inverted(inputs, outputs, stride)
    return nn.Sequential(first, *(Inverted(outputs, outputs, 1) for _ in range(count - 1)))


class Features(nn.Module):
    """MobileNetV2 at 1/4 … 1/32, the coarse maps handed down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.act1 = nn.ReLU6(inplace=True)
        self.block0 = nn.Sequential(nn.Sequential(Separable(32, 16)))
        self.block1 = nn.Sequential(inverted(16, 24, 2, 2))
        self.block2 = nn.Sequential(inverted(24, 32, 3, 2))
        self.block3 = nn.Sequential(inverted(32, 64, 4, 2), inverted(64, 96, 3, 1))
        self.block4 = nn.Sequential(inverted(96, 160, 3, 2))
        self.deconv32_16, self.deconv16_8, self.deconv8_4 = Up(160, 96), Up(192, 32), Up(64, 24)
        self.conv4 = Conv(48, 48, norm=nn.InstanceNorm2d)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.act1(self.bn1(self.conv_stem(x)))
        x2 = self.block0(x)
        x4 = self.block1(x2)
        x8 = self.block2(x4)
        x16 = self.block3(x8)
        x32 = self.block4(x16)
        x16 = self.deconv32_16(x32, x16)
        x8 = self.deconv16_8(x16, x8)
        x4 = self.conv4(self.deconv8_4(x8, x4))
        return [x4, x8, x16, x32]


# --------------------------------------------------------------------------------------------------------- cost volumes


class Attention(nn.Module):
    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.feat_att = nn.Sequential(Conv(features, features // 2, 1), nn.Conv2d(features // 2, channels, 1))

    def forward(self, volume: Tensor, features: Tensor) -> Tensor:
        return torch.sigmoid(self.feat_att(features).unsqueeze(2)) * volume


def solid(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, up: bool = False) -> Conv:
    return Conv(inputs, outputs, kernel, stride, nn.BatchNorm3d, up)


class Hourglass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(solid(8, 16, 3, 2), solid(16, 16))
        self.conv2 = nn.Sequential(solid(16, 32, 3, 2), solid(32, 32))
        self.conv3 = nn.Sequential(solid(32, 48, 3, 2), solid(48, 48))
        self.conv3_up, self.conv2_up = solid(48, 32, up=True), solid(32, 16, up=True)
        self.conv1_up = nn.ModuleDict({"conv": nn.ConvTranspose3d(16, 8, 4, 2, 1, bias=False)})
        self.agg_0 = nn.Sequential(solid(64, 32, 1), solid(32, 32), solid(32, 32))
        self.agg_1 = nn.Sequential(solid(32, 16, 1), solid(16, 16), solid(16, 16))
        self.feature_att_8, self.feature_att_16 = Attention(16, 64), Attention(32, 192)
        self.feature_att_32 = Attention(48, 160)
        self.feature_att_up_16, self.feature_att_up_8 = Attention(32, 192), Attention(16, 64)

    def forward(self, x: Tensor, features: Sequence[Tensor]) -> Tensor:
        conv1 = self.feature_att_8(self.conv1(x), features[1])
        conv2 = self.feature_att_16(self.conv2(conv1), features[2])
        conv3 = self.feature_att_32(self.conv3(conv2), features[3])
        conv2 = torch.cat([self.conv3_up(conv3), conv2], 1)
        conv2 = self.feature_att_up_16(self.agg_0(conv2), features[2])
        conv1 = torch.cat([self.conv2_up(conv2), conv1], 1)
        conv1 = self.feature_att_up_8(self.agg_1(conv1), features[1])
        return self.conv1_up["conv"](conv1)


def by_groups(left: Tensor, right: Tensor) -> Tensor:
    """Means of products in groups, (B, GROUPS, DISPARITIES, h, w)."""
    b, channels, h, w = left.shape
    volume = left.new_zeros(b, GROUPS, DISPARITIES, h, w)
    for d in range(DISPARITIES):
        products = left[..., d:] * right[..., : w - d]
        volume[:, :, d, :, d:] = products.view(b, GROUPS, channels // GROUPS, h, w - d).mean(2)
    return volume.contiguous()


class Lookup:
    """The regularised volume and all pairs of a row, two levels of each."""

    def __init__(self, left: Tensor, right: Tensor, geometry: Tensor) -> None:
        b, channels, depth, h, w = geometry.shape
        rows = torch.einsum("bcij,bcik->bijk", left, right)
        geometry = geometry.permute(0, 3, 4, 1, 2).reshape(b * h * w, channels, 1, depth)
        self.geometry, self.rows = [geometry], [rows.reshape(b * h * w, 1, 1, w)]
        for _ in range(LEVELS - 1):
            for levels in (self.geometry, self.rows):
                levels.append(F.avg_pool2d(levels[-1], [1, 2], stride=[1, 2]))

    def __call__(self, disparity: Tensor, coords: Tensor) -> Tensor:
        b, _, h, w = disparity.shape
        steps = torch.linspace(-RADIUS, RADIUS, 2 * RADIUS + 1, device=disparity.device).view(1, 1, -1, 1)
        at, x, read = disparity.reshape(b * h * w, 1, 1, 1), coords.reshape(b * h * w, 1, 1, 1), []
        for i in range(LEVELS):
            read.append(sampled(self.geometry[i], steps + at / 2**i).view(b, h, w, -1))
            read.append(sampled(self.rows[i], x / 2**i - at / 2**i + steps).view(b, h, w, -1))
        return torch.cat(read, -1).permute(0, 3, 1, 2).contiguous().float()


def sampled(rows: Tensor, at: Tensor) -> Tensor:
    grid = torch.cat([2 * at / (rows.shape[-1] - 1) - 1, torch.zeros_like(at)], -1)
    assert torch.unique(grid[..., 1]).numel() == 1, "rows are matched with themselves"
    return F.grid_sample(rows, grid, align_corners=True)


# ----------------------------------------------------------------------------------------------------------- recurrence


class GRU(nn.Module):
    def __init__(self, inputs: int, kernel: int) -> None:
        super().__init__()
        self.convz, self.convr, self.convq = (
            nn.Conv2d(128 + inputs, 128, kernel, padding=kernel // 2) for _ in range(3)
        )

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        hx = torch.cat([h, x], 1)
        z, r = torch.sigmoid(self.convz(hx)), torch.sigmoid(self.convr(hx))
        q = torch.tanh(self.convq(torch.cat([r * h, x], 1)))
        return (1 - z) * h + z * q


class Selective(nn.Module):
    """A small and a large unit on state, context and inputs, blended by attention."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.small_gru, self.large_gru = GRU(128 + inputs, 1), GRU(128 + inputs, 3)

    def forward(self, attention: Tensor, h: Tensor, *inputs: Tensor) -> Tensor:
        x = torch.cat(inputs, 1)
        return self.small_gru(h, x) * attention + self.large_gru(h, x) * (1 - attention)


class Motion(nn.Module):
    """127 features of costs and disparity, and the disparity itself."""

    def __init__(self) -> None:
        super().__init__()
        planes = LEVELS * (2 * RADIUS + 1) * (GROUPS + 1)
        self.convc1, self.convc2 = nn.Conv2d(planes, 64, 1), nn.Conv2d(64, 64, 3, padding=1)
        self.convd1, self.convd2 = nn.Conv2d(1, 64, 7, padding=3), nn.Conv2d(64, 64, 3, padding=1)
        self.conv = nn.Conv2d(128, 127, 3, padding=1)

    def forward(self, disparity: Tensor, cost: Tensor) -> Tensor:
        c = F.relu(self.convc2(F.relu(self.convc1(cost))))
        d = F.relu(self.convd2(F.relu(self.convd1(disparity))))
        return torch.cat([F.relu(self.conv(torch.cat([c, d], 1))), disparity], 1)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(128, 256, 3, padding=1), nn.Conv2d(256, 1, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.relu(self.conv1(x)))


class Update(nn.Module):
    """One iteration: the three levels from coarse to fine, the increment, and features for the upsampling weights."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.disp_head = Motion(), Head()
        self.gru04, self.gru08, self.gru16 = Selective(128 + 128), Selective(128 + 128), Selective(128)
        self.mask_feat_4 = nn.Sequential(nn.Conv2d(128, 32, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, net: list[Tensor], inp: list[Tensor], attention: list[Tensor], cost: Tensor, disparity: Tensor):
        net[2] = self.gru16(attention[2], net[2], inp[2], halved(net[1]))
        net[1] = self.gru08(attention[1], net[1], inp[1], halved(net[0]), resized(net[2], net[1]))
        motion = self.encoder(disparity, cost)
        net[0] = self.gru04(attention[0], net[0], inp[0], motion, resized(net[1], net[0]))
        return net, 0.25 * self.mask_feat_4(net[0]), self.disp_head(net[0])


class ChannelAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        down, up = nn.Conv2d(128, 8, 1, bias=False), nn.Conv2d(8, 128, 1, bias=False)
        self.fc = nn.Sequential(down, nn.ReLU(), up)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)) + self.fc(F.adaptive_max_pool2d(x, 1)))


class SpatialAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.samconv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return torch.sigmoid(self.samconv(both))


# ------------------------------------------------------------------------------------------------------------ the whole


class PlainIGEV(nn.Module):
    """The official default. Its state dict has the official keys, the context network's as :func:`plain` renames them;
    what only training reads is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.cnet, self.update_block = Context(), Update()
        self.sam, self.cam = SpatialAttention(), ChannelAttention()
        self.feature, self.stem_2, self.stem_4 = Features(), stem(3, 32), stem(32, 48)
        self.spx_gru = nn.Sequential(nn.ConvTranspose2d(64, 9, 4, 2, 1))
        self.spx_2_gru = Up(32, 32, nn.BatchNorm2d)
        self.conv, self.desc = Conv(96, 96, norm=nn.InstanceNorm2d), nn.Conv2d(96, 96, 1)
        self.corr_stem, self.corr_feature_att, self.cost_agg = solid(8, 8), Attention(8, 96), Hourglass()
        self.classifier = nn.Conv3d(8, 1, 3, 1, 1, bias=False)

    def forward(self, left: Tensor, right: Tensor, iterations: int) -> Tensor:
        """(B, 3, H, W) in 0–255, sides divisible by 32 → disparity (B, 1, H, W)."""
        left, right = ((2 * (x / 255.0) - 1.0).contiguous() for x in (left, right))
        features_left, features_right = self.feature(left), self.feature(right)
        half_left = self.stem_2(left)
        quarter_left = self.stem_4(half_left)
        half_right = self.stem_2(right)
        quarter_right = self.stem_4(half_right)
        features_left[0] = torch.cat([features_left[0], quarter_left], 1)
        features_right[0] = torch.cat([features_right[0], quarter_right], 1)
        match_left, match_right = self.desc(self.conv(features_left[0])), self.desc(self.conv(features_right[0]))

        volume = self.corr_feature_att(self.corr_stem(by_groups(match_left, match_right)), features_left[0])
        geometry = self.cost_agg(volume, features_left)
        share = F.softmax(self.classifier(geometry).squeeze(1), 1)
        candidates = torch.arange(DISPARITIES, dtype=share.dtype, device=share.device).view(1, -1, 1, 1)
        disparity = torch.sum(share * candidates, 1, keepdim=True)
        del share, volume

        heads = self.cnet(left)
        net = [torch.tanh(hidden) for hidden, _ in heads]
        inp = [torch.relu(context) for _, context in heads]
        inp = [self.cam(x) * x for x in inp]
        attention = [self.sam(x) for x in inp]

        lookup = Lookup(match_left.float(), match_right.float(), geometry.float())
        b, _, h, w = match_left.shape
        coords = torch.arange(w, device=left.device).float().reshape(1, 1, w, 1).repeat(b, h, 1, 1)
        mask = None
        for _ in range(iterations):
            disparity = disparity.detach()
            cost = lookup(disparity, coords)
            net, mask, delta = self.update_block(net, inp, attention, cost, disparity)
            disparity = disparity + delta
        assert mask is not None
        weights = F.softmax(self.spx_gru(self.spx_2_gru(mask, half_left)), 1)
        return upsampled(4.0 * disparity, weights)


def upsampled(disparity: Tensor, weights: Tensor) -> Tensor:
    """Every fine pixel as a convex combination of the 3×3 cells around it."""
    b, _, h, w = disparity.shape
    near = F.unfold(disparity, 3, 1, 1).reshape(b, -1, h, w)
    near = F.interpolate(near, (4 * h, 4 * w), mode="nearest")
    return (near * weights).sum(1, keepdim=True)


# ---------------------------------------------------------------------------------------------------------- its weights


def seeded(seed: int = 0) -> dict[str, Tensor]:
    """An official state dict with random weights of a trained network's size."""
    return runpy.run_path(str(REFERENCE))["random_state"]("selective-igev", DEFAULT, seed)


def plain(state: Mapping[str, Tensor]) -> PlainIGEV:
    """The plain form with these weights, in eval mode; its context network has RAFT-Stereo's names of levels."""
    below = {"04": "08", "08": "16", "16": "32"}
    named = {re.sub(r"(?<=cnet\.outputs)\d\d", lambda level: below[level[0]], key): x for key, x in state.items()}
    own = PlainIGEV()
    own.load_state_dict({key: named[key] for key in own.state_dict()})
    return own.eval()


def load(setting: Setting) -> Forms:
    """polzoo's inference copy and the plain form, with the same seeded weights and pair."""
    state, views = seeded(), pair(setting)
    ours, own = from_official(state, "selective-igev", DEFAULT).fuse(), plain(state)
    backbone: Any = ours.backbone
    features = [own.feature, own.stem_2, own.stem_4, own.conv, own.desc]
    parts = {
        "features": ([backbone.fnet], features),
        "context": ([backbone.cnet.trunk, backbone.cnet, backbone.gates], [own.cnet, own.cam, own.sam]),
        "volume": ([backbone.regulariser], [own.corr_stem, own.corr_feature_att, own.cost_agg, own.classifier]),
        "step and mask": ([ours.operator, ours.update.weights], [own.update_block]),
        "upsampling": ([backbone.superpixels], [own.spx_2_gru, own.spx_gru]),
    }
    grey_levels = [255 * view for view in views]
    return Forms(lambda n: ours(*views, iterations=n).disparity, lambda n: own(*grey_levels, n), parts)


if __name__ == "__main__":
    sys.exit(main(__doc__, load, OFFICIAL))
