"""RAFT-Stereo in plain eager torch, computing what the official code does in test mode: what ``raft`` is measured by.

    python benchmarks/plain_raft.py --check                      # is this the official cost? (1 thread, a few minutes)
    python benchmarks/plain_raft.py --iterations 1 12 32 --out benchmarks/results/plain_raft.json     # raft beside it

Written from the paper and from what the official code does, in its default configuration. On purpose it does everything
twice that the official code does: both views through the feature network in one batch, five levels of the correlation
pyramid of which four are read, lookups by ``grid_sample`` over two coordinates, the mask head in every iteration, a
flow whose second channel stays zero. ``spec/backbones.md`` §4 says what that costs; ``--check`` compares.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from side_by_side import Forms, Official, main
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.convert import from_official
from polzoo.evaluation.benchmark_model import pair
from polzoo.evaluation.benchmark_result import Setting

REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "backbones" / "reference_raft.py"
DEFAULT = {
    "n_gru_layers": 3,
    "n_downsample": 2,
    "shared_backbone": False,
    "slow_fast_gru": False,
    "context_norm": "batch",
    "hidden_dims": [128, 128, 128],
    "corr_levels": 4,
    "corr_radius": 4,
    "corr_implementation": "reg",
}
LEVELS, RADIUS, FACTOR = 4, 4, 4

OFFICIAL = Official({1: 10.2, 4: 13.3, 12: 17.8, 32: 33.0}, 599)


class Residual(nn.Module):
    """Two 3×3 convolutions with a ReLU after each norm, and the input, projected where its shape changes."""

    def __init__(self, inputs: int, outputs: int, norm: type[nn.Module], stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm1, self.norm2 = norm(outputs), norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or inputs != outputs
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), norm(outputs)) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.relu(self.norm2(self.conv2(y)))
        return self.relu((x if self.downsample is None else self.downsample(x)) + y)


def layer(inputs: int, outputs: int, norm: type[nn.Module], stride: int) -> nn.Sequential:
    return nn.Sequential(Residual(inputs, outputs, norm, stride), Residual(outputs, outputs, norm, 1))


class Trunk(nn.Module):
    """7×7 at full resolution, then stages at 1, 1/2 and 1/4."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(3, 64, 7, 1, 3), norm(64), nn.ReLU(inplace=True)
        self.layer1, self.layer2 = layer(64, 64, norm, 1), layer(64, 96, norm, 2)
        self.layer3 = layer(96, 128, norm, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer3(self.layer2(self.layer1(self.relu1(self.norm1(self.conv1(x))))))


class Features(Trunk):
    """256 matching features at 1/4 of both views, stacked along the batch."""

    def __init__(self) -> None:
        super().__init__(nn.InstanceNorm2d)
        self.conv2 = nn.Conv2d(128, 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(super().forward(x))


class Context(Trunk):
    """(hidden, context) of 128 channels each at 1/4, 1/8 and 1/16."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d)
        self.layer4, self.layer5 = (layer(128, 128, nn.BatchNorm2d, 2) for _ in range(2))

        def head() -> nn.Module:
            return nn.Sequential(Residual(128, 128, nn.BatchNorm2d, 1), nn.Conv2d(128, 128, 3, padding=1))

        self.outputs08, self.outputs16 = (nn.ModuleList(head() for _ in range(2)) for _ in range(2))
        self.outputs32 = nn.ModuleList(nn.Conv2d(128, 128, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        fine = super().forward(x)
        middle = self.layer4(fine)
        coarse = self.layer5(middle)
        levels = (fine, self.outputs08), (middle, self.outputs16), (coarse, self.outputs32)
        return [[head(seen) for head in heads] for seen, heads in levels]


class GRU(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convz, self.convr, self.convq = (nn.Conv2d(128 + inputs, 128, 3, padding=1) for _ in range(3))

    def forward(self, h: Tensor, cz: Tensor, cr: Tensor, cq: Tensor, *inputs: Tensor) -> Tensor:
        x = torch.cat(inputs, 1)
        hx = torch.cat([h, x], 1)
        z, r = torch.sigmoid(self.convz(hx) + cz), torch.sigmoid(self.convr(hx) + cr)
        q = torch.tanh(self.convq(torch.cat([r * h, x], 1)) + cq)
        return (1 - z) * h + z * q


class Motion(nn.Module):
    """126 features of costs and flow, and the flow itself."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1, self.convc2 = nn.Conv2d(LEVELS * (2 * RADIUS + 1), 64, 1), nn.Conv2d(64, 64, 3, padding=1)
        self.convf1, self.convf2 = nn.Conv2d(2, 64, 7, padding=3), nn.Conv2d(64, 64, 3, padding=1)
        self.conv = nn.Conv2d(128, 126, 3, padding=1)

    def forward(self, flow: Tensor, cost: Tensor) -> Tensor:
        c = F.relu(self.convc2(F.relu(self.convc1(cost))))
        f = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat([F.relu(self.conv(torch.cat([c, f], 1))), flow], 1)


class FlowHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(128, 256, 3, padding=1), nn.Conv2d(256, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.relu(self.conv1(x)))


class Update(nn.Module):
    """One iteration: the three GRUs from coarse to fine, the flow's increment and the upsampling weights."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.flow_head = Motion(), FlowHead()
        self.gru08, self.gru16, self.gru32 = GRU(128 + 128), GRU(128 + 128), GRU(128)
        last = nn.Conv2d(256, 9 * FACTOR**2, 1)
        self.mask = nn.Sequential(nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(inplace=True), last)

    def forward(self, net: list[Tensor], inp: list[Any], cost: Tensor, flow: Tensor) -> Any:
        """(hidden states, upsampling weights, increment of the flow)."""
        net = list(net)
        net[2] = self.gru32(net[2], *inp[2], halved(net[1]))
        net[1] = self.gru16(net[1], *inp[1], halved(net[0]), resized(net[2], net[1]))
        net[0] = self.gru08(net[0], *inp[0], self.encoder(flow, cost), resized(net[1], net[0]))
        return net, 0.25 * self.mask(net[0]), self.flow_head(net[0])


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=2, padding=1)


def resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class Correlation:
    """All pairs of a row, five levels of them, four of which are read."""

    def __init__(self, left: Tensor, right: Tensor) -> None:
        b, channels, h, w = left.shape
        rows = torch.einsum("bcij,bcik->bijk", left, right) / channels**0.5
        self.levels = [rows.reshape(b * h * w, 1, 1, w)]
        for _ in range(LEVELS):
            self.levels.append(F.avg_pool2d(self.levels[-1], [1, 2], stride=[1, 2]))

    def __call__(self, coords: Tensor) -> Tensor:
        b, _, h, w = coords.shape
        x = coords[:, :1].permute(0, 2, 3, 1).reshape(b * h * w, 1, 1, 1)
        steps = torch.linspace(-RADIUS, RADIUS, 2 * RADIUS + 1, device=coords.device).view(1, 1, -1, 1)
        read = []
        for i, level in enumerate(self.levels[:LEVELS]):
            at = steps + x / 2**i
            grid = torch.cat([2 * at / (level.shape[-1] - 1) - 1, torch.zeros_like(at)], -1)
            assert torch.unique(grid[..., 1]).numel() == 1, "rows are matched with themselves"
            read.append(F.grid_sample(level, grid, align_corners=True).view(b, h, w, -1))
        return torch.cat(read, -1).permute(0, 3, 1, 2).contiguous().float()


class PlainRAFT(nn.Module):
    """The official default; its state dict has the official keys, but for the second names of ``downsample.1``."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet, self.cnet, self.update_block = Features(), Context(), Update()
        self.context_zqr_convs = nn.ModuleList(nn.Conv2d(128, 384, 3, padding=1) for _ in range(3))

    def forward(self, left: Tensor, right: Tensor, iterations: int) -> Tensor:
        """(B, 3, H, W) in 0–255, sides divisible by 32 → disparity (B, 1, H, W)."""
        left, right = ((2 * (x / 255.0) - 1.0).contiguous() for x in (left, right))
        heads = self.cnet(left)
        first, second = self.fnet(torch.cat([left, right])).chunk(2)
        net = [torch.tanh(hidden) for hidden, _ in heads]
        seen = [torch.relu(context) for _, context in heads]
        inp = [conv(x).split(128, 1) for conv, x in zip(self.context_zqr_convs, seen, strict=True)]
        correlation = Correlation(first.float(), second.float())
        start = grid(net[0])
        coords, mask = start.clone(), None
        for _ in range(iterations):
            coords = coords.detach()
            cost = correlation(coords)
            net, mask, delta = self.update_block(net, inp, cost, coords - start)
            delta[:, 1] = 0.0
            coords = coords + delta
        assert mask is not None
        return -upsampled(coords - start, mask)[:, :1]


def grid(like: Tensor) -> Tensor:
    """x and y of every cell, (B, 2, h, w)."""
    y, x = torch.meshgrid(*(torch.arange(n, device=like.device) for n in like.shape[-2:]), indexing="ij")
    return torch.stack([x, y]).float()[None].repeat(len(like), 1, 1, 1)


def upsampled(flow: Tensor, mask: Tensor) -> Tensor:
    """Every fine pixel as a convex combination of the 3×3 cells around it, both channels."""
    b, channels, h, w = flow.shape
    weights = torch.softmax(mask.view(b, 1, 9, FACTOR, FACTOR, h, w), dim=2)
    near = F.unfold(FACTOR * flow, (3, 3), padding=1).view(b, channels, 9, 1, 1, h, w)
    fine = torch.sum(weights * near, dim=2).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(b, channels, FACTOR * h, FACTOR * w)


# --------------------------------------------------------------------------------------------------------- its weights


def seeded(seed: int = 0) -> dict[str, Tensor]:
    """An official state dict with random weights of a trained network's size."""
    return runpy.run_path(str(REFERENCE))["random_state"](DEFAULT, seed)


def plain(state: Mapping[str, Tensor]) -> PlainRAFT:
    """The plain form with these weights, in eval mode."""
    own = PlainRAFT()
    own.load_state_dict({key: state[key] for key in own.state_dict()})
    return own.eval()


def load(setting: Setting) -> Forms:
    """polzoo's inference copy and the plain form, with the same seeded weights and pair."""
    state, views = seeded(), pair(setting)
    ours, own = from_official(state, args=DEFAULT).fuse(), plain(state)
    backbone: Any = ours.backbone
    parts = {
        "features": ([backbone.fnet], [own.fnet]),
        "context": (
            [backbone.cnet.trunk, backbone.cnet, backbone.gates],
            [own.cnet, *own.context_zqr_convs],
        ),
        "step and mask": ([ours.operator, ours.update.weights], [own.update_block]),
    }
    grey_levels = [255 * view for view in views]
    return Forms(lambda n: ours(*views, iterations=n).disparity, lambda n: own(*grey_levels, n), parts)


if __name__ == "__main__":
    sys.exit(main(__doc__, load, OFFICIAL))
