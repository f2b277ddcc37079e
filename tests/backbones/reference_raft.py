"""RAFT-Stereo's forward pass as plain functions of an official state dict, to measure polzoo's against.

Written from the paper and the structure of the official code: flow-style (x = −disparity, y = 0 carried along), nothing
folded, interpolation by hand. It runs in whatever dtype the state has; the tests use float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = ("08", "16", "32")
SMALL = {
    "hidden_dims": [32, 32, 32],
    "corr_implementation": "reg",
    "shared_backbone": False,
    "corr_levels": 4,
    "corr_radius": 4,
    "n_downsample": 2,
    "context_norm": "batch",
    "slow_fast_gru": False,
    "n_gru_layers": 3,
    "mixed_precision": False,
}
"""Official arguments of a network whose weights are soon made."""


def shapes(args: dict) -> dict[str, tuple[int, ...]]:
    """Name → shape of every entry of an official state dict."""
    out: dict[str, tuple[int, ...]] = {}
    kind, affine = args["context_norm"], args["context_norm"] in ("batch", "group")
    coarse, middle, fine = args["hidden_dims"]

    def conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = (outputs, inputs, kernel, kernel), (outputs,)

    def norm(name: str, channels: int, on: bool) -> None:
        if on:
            out[f"{name}.weight"] = out[f"{name}.bias"] = (channels,)
            if kind == "batch":
                out[f"{name}.running_mean"] = out[f"{name}.running_var"] = (channels,)
                out[f"{name}.num_batches_tracked"] = ()

    def block(name: str, inputs: int, outputs: int, on: bool, project: bool) -> None:
        conv(f"{name}.conv1", outputs, inputs, 3)
        conv(f"{name}.conv2", outputs, outputs, 3)
        norms = ("norm1", "norm2", "norm3", "downsample.1") if project else ("norm1", "norm2")
        for which in norms:
            norm(f"{name}.{which}", outputs, on)
        if project:
            conv(f"{name}.downsample.0", outputs, inputs, 1)

    def trunk(name: str, on: bool, layers: int) -> None:
        conv(f"{name}.conv1", 64, 3, 7)
        norm(f"{name}.norm1", 64, on)
        widths = (64, 64, 96, 128, 128, 128)
        for i in range(1, layers + 1):
            block(f"{name}.layer{i}.0", widths[i - 1], widths[i], on, project=i > 1)
            block(f"{name}.layer{i}.1", widths[i], widths[i], on, project=False)

    trunk("cnet", affine, 5)
    for level, dim in zip(LEVELS, (fine, middle, coarse), strict=True):
        for head in (0, 1):
            if level == "32":
                conv(f"cnet.outputs32.{head}", dim, 128, 3)
            else:
                block(f"cnet.outputs{level}.{head}.0", 128, 128, affine, False)
                conv(f"cnet.outputs{level}.{head}.1", dim, 128, 3)
    encoder = "update_block.encoder"
    conv(f"{encoder}.convc1", 64, args["corr_levels"] * (2 * args["corr_radius"] + 1), 1)
    conv(f"{encoder}.convc2", 64, 64, 3)
    conv(f"{encoder}.convf1", 64, 2, 7)
    conv(f"{encoder}.convf2", 64, 64, 3)
    conv(f"{encoder}.conv", 126, 128, 3)
    n = args["n_gru_layers"]
    reads = {"08": 128 + middle * (n > 1), "16": fine + coarse * (n == 3), "32": middle}
    for level, dim in zip(LEVELS, (fine, middle, coarse), strict=True):
        for gate in "zrq":
            conv(f"update_block.gru{level}.conv{gate}", dim, dim + reads[level], 3)
    conv("update_block.flow_head.conv1", 256, fine, 3)
    conv("update_block.flow_head.conv2", 2, 256, 3)
    conv("update_block.mask.0", 256, fine, 3)
    conv("update_block.mask.2", 9 * 4 ** args["n_downsample"], 256, 1)
    for i in range(n):
        conv(f"context_zqr_convs.{i}", 3 * args["hidden_dims"][i], args["hidden_dims"][i], 3)
    if args["shared_backbone"]:
        block("conv2.0", 128, 128, False, False)
        conv("conv2.1", 256, 128, 3)
    else:
        trunk("fnet", False, 3)
        conv("fnet.conv2", 256, 128, 1)
    return out


def random_state(args: dict, seed: int) -> dict[str, Tensor]:
    """Weights of a trained network's size: differences between implementations stay visible, values stay tame."""
    rng, state = torch.Generator().manual_seed(seed), {}
    gains = {"convc1": 0.3, "convf1": 0.3, "mask.2": 4.0}
    for name, shape in shapes(args).items():
        last = name.rsplit(".", 1)[-1]
        noise = torch.rand(shape, generator=rng) * 2 - 1
        if last == "num_batches_tracked":
            state[name] = torch.zeros((), dtype=torch.int64)
        elif last == "running_var" or (last == "weight" and len(shape) == 1):
            state[name] = 1 + 0.2 * noise
        elif len(shape) == 1:
            state[name] = 0.1 * noise
        else:
            gain = next((g for part, g in gains.items() if part in name), 1.0)
            state[name] = gain * (3 / torch.Size(shape[1:]).numel()) ** 0.5 * noise
    return state


class Reference:
    """``Reference(state, args)(left, right, iterations)`` → the full-size disparity after each iteration."""

    def __init__(self, state: dict[str, Tensor], args: dict) -> None:
        self.s, self.args = {k: v.double() for k, v in state.items()}, args

    def __call__(self, left: Tensor, right: Tensor, iterations: int, flow: Tensor | None = None) -> list[Tensor]:
        """``left``, ``right``: (B, 3, H, W) in 0–255; ``flow``: (B, 2, h, w) on the padded grid."""
        high, wide = left.shape[-2:]
        down, across = -high % 32, -wide % 32
        top, start = down // 2, across // 2
        views = [
            F.pad(v.double(), (start, across - start, top, down - top), mode="replicate") / 127.5 - 1
            for v in (left, right)
        ]
        (left, right), n = views, self.args["n_gru_layers"]
        if self.args["shared_backbone"]:
            both = self.trunk(torch.cat(views), "cnet", self.args["context_norm"])
            f1, f2 = self.conv(self.block(both, "conv2.0", "instance", 1), "conv2.1").chunk(2)
            seen = both[: len(left)]
        else:
            f1, f2 = (self.conv(self.trunk(v, "fnet", "instance"), "fnet.conv2") for v in views)
            seen = self.trunk(left, "cnet", self.args["context_norm"])
        net, inp = [], []
        for i, level in enumerate(LEVELS[:n]):
            if i:
                seen = self.layer(seen, f"cnet.layer{3 + i}", self.args["context_norm"], 2)
            hidden, context = (self.context_head(seen, f"cnet.outputs{level}.{j}", level) for j in (0, 1))
            net.append(hidden.tanh())
            inp.append(self.conv(context.relu(), f"context_zqr_convs.{i}").chunk(3, 1))
        rows = torch.einsum("bchi,bchj->bhij", f1, f2) / f1.shape[1] ** 0.5
        current = rows.new_zeros(len(left), 2, *f1.shape[-2:]) if flow is None else flow.double()
        sequence = []
        for _ in range(iterations):
            current = current.detach()
            costs = self.lookup(rows, current[:, 0])
            for rounds in self.rounds(n):
                for i in rounds:
                    net[i] = self.gru(i, net, inp, current, costs)
            delta = self.conv(self.conv(net[0], "update_block.flow_head.conv1").relu(), "update_block.flow_head.conv2")
            current = torch.stack([current[:, 0] + delta[:, 0], current[:, 1]], 1)
            full = self.upsample(current[:, :1], net[0])
            sequence.append(-full[..., top : top + high, start : start + wide])
        return sequence

    def rounds(self, n: int) -> list[list[int]]:
        every = list(range(n))[::-1]
        return [*([every[:i] for i in range(1, n)] if self.args["slow_fast_gru"] else []), every]

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.s[f"{name}.weight"]
        return F.conv2d(x, weight, self.s[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def norm(self, x: Tensor, name: str, kind: str) -> Tensor:
        if kind == "none":
            return x
        if kind == "batch":
            mean, var = (self.s[f"{name}.running_{k}"][:, None, None] for k in ("mean", "var"))
        else:
            groups = x.unflatten(1, (-1, 8 if kind == "group" else 1))
            mean, var = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), unbiased=False, keepdim=True)
            mean, var = (m.expand(-1, -1, groups.shape[2], -1, -1).flatten(1, 2) for m in (mean, var))
        x = (x - mean) / (var + 1e-5).sqrt()
        if kind == "instance":
            return x
        return x * self.s[f"{name}.weight"][:, None, None] + self.s[f"{name}.bias"][:, None, None]

    def block(self, x: Tensor, name: str, kind: str, stride: int) -> Tensor:
        y = self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.norm1", kind).relu()
        y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.norm2", kind).relu()
        if f"{name}.downsample.0.weight" in self.s:
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1", kind)
        return (x + y).relu()

    def layer(self, x: Tensor, name: str, kind: str, stride: int) -> Tensor:
        return self.block(self.block(x, f"{name}.0", kind, stride), f"{name}.1", kind, 1)

    def trunk(self, x: Tensor, name: str, kind: str) -> Tensor:
        eighth = self.args["n_downsample"] == 3
        x = self.norm(self.conv(x, f"{name}.conv1", 2 if eighth else 1), f"{name}.norm1", kind).relu()
        for i, stride in ((1, 1), (2, 2), (3, 2)):
            x = self.layer(x, f"{name}.layer{i}", kind, stride)
        return x

    def context_head(self, x: Tensor, name: str, level: str) -> Tensor:
        if level == "32":
            return self.conv(x, name)
        return self.conv(self.block(x, f"{name}.0", self.args["context_norm"], 1), f"{name}.1")

    def lookup(self, rows: Tensor, flow: Tensor) -> Tensor:
        """Read (x + flow) / 2^i + k at every level i, tap by tap, zero outside."""
        x, radius, out = torch.arange(rows.shape[-1], dtype=rows.dtype), self.args["corr_radius"], []
        for i in range(self.args["corr_levels"]):
            for k in range(-radius, radius + 1):
                at = (x + flow) / 2**i + k
                low, cost = at.floor(), torch.zeros_like(at)
                for tap, weight in ((low, 1 + low - at), (low + 1, at - low)):
                    inside = (tap >= 0) & (tap < rows.shape[-1])
                    value = rows.gather(-1, tap.clamp(0, rows.shape[-1] - 1).long().unsqueeze(-1)).squeeze(-1)
                    cost = cost + torch.where(inside, weight * value, 0)
                out.append(cost)
            even = rows.shape[-1] // 2 * 2
            rows = (rows[..., 0:even:2] + rows[..., 1:even:2]) / 2
        return torch.stack(out, 1)

    def gru(self, i: int, net: list[Tensor], inp: list, flow: Tensor, costs: Tensor) -> Tensor:
        name, h = f"update_block.gru{LEVELS[i]}", net[i]
        read = [F.avg_pool2d(net[i - 1], 3, 2, 1) if i else self.motion(flow, costs)]
        if i + 1 < len(net):
            read.append(F.interpolate(net[i + 1], h.shape[-2:], mode="bilinear", align_corners=True))
        hx = torch.cat([h, *read], 1)
        z, r = ((self.conv(hx, f"{name}.conv{g}") + c).sigmoid() for g, c in zip("zr", inp[i][:2], strict=True))
        q = (self.conv(torch.cat([r * h, *read], 1), f"{name}.convq") + inp[i][2]).tanh()
        return (1 - z) * h + z * q

    def motion(self, flow: Tensor, costs: Tensor) -> Tensor:
        def twice(x: Tensor, letter: str) -> Tensor:
            name = f"update_block.encoder.conv{letter}"
            return self.conv(self.conv(x, f"{name}1").relu(), f"{name}2").relu()

        both = torch.cat([twice(costs, "c"), twice(flow, "f")], 1)
        return torch.cat([self.conv(both, "update_block.encoder.conv").relu(), flow], 1)

    def upsample(self, coarse: Tensor, hidden: Tensor) -> Tensor:
        factor = 2 ** self.args["n_downsample"]
        logits = 0.25 * self.conv(self.conv(hidden, "update_block.mask.0").relu(), "update_block.mask.2")
        b, _, h, w = logits.shape
        weights = logits.view(b, 9, factor, factor, h, w).softmax(1)
        padded, fine = F.pad(coarse, (1, 1, 1, 1)), coarse.new_zeros(())
        for n in range(9):
            neighbour = padded[:, 0, n // 3 : n // 3 + h, n % 3 : n % 3 + w]
            fine = fine + weights[:, n] * factor * neighbour[:, None, None]
        return fine.permute(0, 3, 1, 4, 2).reshape(b, 1, factor * h, factor * w)
