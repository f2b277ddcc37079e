"""Selective-IGEV, IGEV-Stereo and Selective-RAFT as plain functions of an official state dict, to measure polzoo's by.

Written from the papers and the structure of the official codes: gates convolve their context in every iteration, as
many volumes as there are steps, taps read one by one. It runs in float64. What RAFT-Stereo has in common comes from
``reference_raft.py``. With one GRU level the official Selective codes never run their cell; here it runs.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

raft: Any = runpy.run_path(str(Path(__file__).with_name("reference_raft.py")))

STRIDES = ("04", "08", "16")
FINER = {"08": "04", "16": "08", "32": "16"}
BLOCKS = (  # of MobileNetV2: name, channels in and out, stride
    *(("1.0.0", 16, 24, 2), ("1.0.1", 24, 24, 1)),
    *(("2.0.0", 24, 32, 2), ("2.0.1", 32, 32, 1), ("2.0.2", 32, 32, 1)),
    *(("3.0.0", 32, 64, 2), ("3.0.1", 64, 64, 1), ("3.0.2", 64, 64, 1), ("3.0.3", 64, 64, 1)),
    *(("3.1.0", 64, 96, 1), ("3.1.1", 96, 96, 1), ("3.1.2", 96, 96, 1)),
    *(("4.0.0", 96, 160, 2), ("4.0.1", 160, 160, 1), ("4.0.2", 160, 160, 1)),
)
ATTENTION = {"corr_feature_att": (8, 96), "cost_agg.feature_att_8": (16, 64), "cost_agg.feature_att_16": (32, 192)} | {
    "cost_agg.feature_att_32": (48, 160),
    "cost_agg.feature_att_up_16": (32, 192),
    "cost_agg.feature_att_up_8": (16, 64),
}
SOLID = {  # 3-D convolutions: outputs, inputs, kernel; the transposed ones (inputs, outputs) are told by their kernel
    "corr_stem": (8, 8, 3),
    **{f"cost_agg.conv{i}.0": (o, n, 3) for i, n, o in ((1, 8, 16), (2, 16, 32), (3, 32, 48))},
    **{f"cost_agg.conv{i}.1": (c, c, 3) for i, c in ((1, 16), (2, 32), (3, 48))},
    **{f"cost_agg.conv{i}_up": (n, o, 4) for i, n, o in ((3, 48, 32), (2, 32, 16), (1, 16, 8))},
    **{f"cost_agg.agg_{i}.0": (c, 2 * c, 1) for i, c in ((0, 32), (1, 16))},
    **{f"cost_agg.agg_{i}.{j}": (c, c, 3) for i, c in ((0, 32), (1, 16)) for j in (1, 2)},
}
FLAT = {  # bias-free 2-D convolutions
    "feature.conv_stem": (32, 3, 3),
    **{
        f"feature.deconv{n}.conv1.conv": (i, o, 4)
        for n, i, o in (("32_16", 160, 96), ("16_8", 192, 32), ("8_4", 64, 24))
    },
    **{f"feature.deconv{n}.conv2.conv": (c, c, 3) for n, c in (("32_16", 192), ("16_8", 64), ("8_4", 48))},
    "feature.conv4.conv": (48, 48, 3),
    **{"stem_2.0.conv": (32, 3, 3), "stem_2.1": (32, 32, 3), "stem_4.0.conv": (48, 32, 3), "stem_4.1": (48, 48, 3)},
    **{"spx_4.0.conv": (24, 96, 3), "spx_4.1": (24, 24, 3), "spx_2.conv1.conv": (24, 32, 4)},
    **{"spx_2.conv2.conv": (64, 64, 3), "spx_2_gru.conv1.conv": (32, 32, 4), "spx_2_gru.conv2.conv": (64, 64, 3)},
    "conv.conv": (96, 96, 3),
}


def shapes(family: str, args: dict) -> dict[str, tuple[int, ...]]:
    """Name → shape of every entry of an official state dict."""
    on_raft = family == "selective-raft"
    dims = [args["hidden_dim"]] * 3 if on_raft else args["hidden_dims"]
    common = {"hidden_dims": dims, "context_norm": "batch", "shared_backbone": False, "n_downsample": 2, **args}
    out: dict[str, tuple[int, ...]] = {}
    for name, shape in raft["shapes"](common).items():
        if name.startswith(("cnet.", "fnet.", "update_block.mask") if on_raft else "cnet."):
            out[name if on_raft else re.sub(r"(?<=outputs)\d\d", lambda level: FINER[level[0]], name)] = shape
    cell(out, family, dims, args)
    if not on_raft:
        geometry(out)
    return out


def conv(out: dict, name: str, *shape: int, bias: bool = True) -> None:
    out[f"{name}.weight"] = shape
    if bias:
        out[f"{name}.bias"] = (shape[0],)


def norm(out: dict, name: str, channels: int) -> None:
    for part in ("weight", "bias", "running_mean", "running_var"):
        out[f"{name}.{part}"] = (channels,)
    out[f"{name}.num_batches_tracked"] = ()


def cell(out: dict, family: str, dims: list[int], args: dict) -> None:
    (coarse, middle, fine), n = dims, args["n_gru_layers"]
    planes, letter = (1, "f") if family == "selective-raft" else (9, "d")
    encoder = "update_block.encoder"
    conv(out, f"{encoder}.convc1", 64, args["corr_levels"] * (2 * args["corr_radius"] + 1) * planes, 1, 1)
    conv(out, f"{encoder}.convc2", 64, 64, 3, 3)
    conv(out, f"{encoder}.conv{letter}1", 64, 1, 7, 7)
    conv(out, f"{encoder}.conv{letter}2", 64, 64, 3, 3)
    conv(out, f"{encoder}.conv", 127, 128, 3, 3)
    conv(out, "update_block.disp_head.conv1", 256, fine, 3, 3)
    conv(out, "update_block.disp_head.conv2", 1, 256, 3, 3)
    if family != "selective-raft":
        conv(out, "update_block.mask_feat_4.0", 32, fine, 3, 3)
    reads = {"04": 128 + middle * (n > 1), "08": fine + coarse * (n == 3), "16": middle}
    for i, (level, dim) in enumerate(zip(STRIDES, (fine, middle, coarse), strict=True)):
        for gate in "zrq":
            if family == "igev-stereo":
                conv(out, f"update_block.gru{level}.conv{gate}", dim, dim + reads[level], 3, 3)
            elif i < n:
                for size, k in (("small", 1), ("large", 3)):
                    conv(out, f"update_block.gru{level}.{size}_gru.conv{gate}", dim, 2 * dim + reads[level], k, k)
    if family == "igev-stereo":
        for i in range(n):
            conv(out, f"context_zqr_convs.{i}", 3 * dims[i], dims[i], 3, 3)
    else:
        conv(out, "sam.samconv", 1, 2, 7, 7, bias=False)
        conv(out, "cam.fc.0", fine // 16, fine, 1, 1, bias=False)
        conv(out, "cam.fc.2", fine, fine // 16, 1, 1, bias=False)


def geometry(out: dict) -> None:
    for name, (a, b, k) in FLAT.items():
        conv(out, name, a, b, k, k, bias=False)
    norm(out, "feature.bn1", 32)
    conv(out, "feature.block0.0.0.conv_dw", 32, 1, 3, 3, bias=False)
    norm(out, "feature.block0.0.0.bn1", 32)
    conv(out, "feature.block0.0.0.conv_pw", 16, 32, 1, 1, bias=False)
    norm(out, "feature.block0.0.0.bn2", 16)
    for name, i, o, _ in BLOCKS:
        for part, shape, which, channels in (
            ("conv_pw", (6 * i, i, 1, 1), "bn1", 6 * i),
            ("conv_dw", (6 * i, 1, 3, 3), "bn2", 6 * i),
            ("conv_pwl", (o, 6 * i, 1, 1), "bn3", o),
        ):
            conv(out, f"feature.block{name}.{part}", *shape, bias=False)
            norm(out, f"feature.block{name}.{which}", channels)
    for name, channels in (("spx_2_gru.conv1", 32), ("spx_2_gru.conv2", 64)):
        norm(out, f"{name}.bn", channels)
    for name in ("spx.0", "spx_gru.0"):
        out[f"{name}.weight"], out[f"{name}.bias"] = (64, 9, 4, 4), (9,)
    conv(out, "desc", 96, 96, 1, 1)
    for name, (a, b, k) in SOLID.items():
        conv(out, f"{name}.conv", a, b, k, k, k, bias=False)
        norm(out, f"{name}.bn", b if k == 4 else a)
    for name, (volume, features) in ATTENTION.items():
        conv(out, f"{name}.feat_att.0.conv", features // 2, features, 1, 1, bias=False)
        norm(out, f"{name}.feat_att.0.bn", features // 2)
        conv(out, f"{name}.feat_att.1", volume, features // 2, 1, 1)
    conv(out, "classifier", 1, 8, 3, 3, 3, bias=False)


def random_state(family: str, args: dict, seed: int) -> dict[str, Tensor]:
    """Weights of a trained network's size: differences between implementations stay visible, values stay tame."""
    rng, state = torch.Generator().manual_seed(seed), {}
    gains = {"convc1": 0.3, "convf1": 0.3, "convd1": 0.15, "mask.2": 4.0, "samconv": 3.0, "spx": 2.0, "classifier": 6.0}
    for name, shape in shapes(family, args).items():
        last, noise = name.rsplit(".", 1)[-1], torch.rand(shape, generator=rng) * 2 - 1
        if last == "num_batches_tracked":
            state[name] = torch.zeros((), dtype=torch.int64)
        elif last == "running_var" or (last == "weight" and len(shape) == 1):
            state[name] = 1 + 0.2 * noise
        elif len(shape) == 1:
            state[name] = 0.1 * noise
        else:
            gain = next((g for part, g in gains.items() if part in name), 2.1 if len(shape) == 5 else 1.0)
            state[name] = gain * (3 / torch.Size(shape[1:]).numel()) ** 0.5 * noise
    return state


class Reference(raft["Reference"]):
    """``Reference(state, family, args)(left, right, iterations)`` → (first disparity on the feature grid and at full
    size, or None; the full-size disparity after each iteration)."""

    def __init__(self, state: dict[str, Tensor], family: str, args: dict) -> None:
        super().__init__(state, {"context_norm": "batch", "n_downsample": 2, **args})
        self.family, self.training = family, False

    def __call__(self, left: Tensor, right: Tensor, iterations: int, start: Tensor | None = None):
        """``left``, ``right``: (B, 3, H, W) in 0–255; ``start``: (B, 1, h, w) on the padded grid replaces the first."""
        high, wide = left.shape[-2:]
        top, side = -high % 32 // 2, -wide % 32 // 2
        pad = (side, -wide % 32 - side, top, -high % 32 - top)
        left, right = (F.pad(v.double(), pad, mode="replicate") / 127.5 - 1 for v in (left, right))
        first, half = None, left
        if self.family == "selective-raft":
            f1, f2 = (self.conv(self.trunk(v, "fnet", "instance"), "fnet.conv2") for v in (left, right))
            rows = torch.einsum("bchi,bchj->bhij", f1, f2) / f1.shape[1] ** 0.5
            low = rows.new_zeros(len(left), 1, *f1.shape[-2:])
            lookup = lambda d: self.lookup(rows, -d[:, 0])  # noqa: E731
        else:
            (f1, features, half), (f2, _, _) = self.matching(left), self.matching(right)
            rows = torch.einsum("bchi,bchj->bhij", f1, f2)
            solid = self.geometry(self.groups(f1, f2), features)
            low = self.soft_argmin(F.conv3d(solid, self.s["classifier.weight"], padding=1)[:, 0])
            first = low, self.superpixels(low, self.first_weights(features[0], half))
            lookup = lambda d: self.combined(solid, rows, d[:, 0])  # noqa: E731
        current = low if start is None else start.double()
        net, inp = self.context(left)
        sequence = []
        for _ in range(iterations):
            current = current.detach()
            costs = lookup(current)
            for rounds in self.rounds(self.args["n_gru_layers"]):
                for i in rounds:
                    net[i] = self.gru(i, net, inp, current, costs)
            delta = self.conv(self.conv(net[0], "update_block.disp_head.conv1").relu(), "update_block.disp_head.conv2")
            if self.family == "selective-raft":
                current = current - delta
                full = self.upsample(current, net[0])
            else:
                current = current + delta
                scale = 0.25 if self.family == "selective-igev" else 1.0
                mask = scale * self.conv(net[0], "update_block.mask_feat_4.0").relu()
                x = F.leaky_relu(self.batch(self.up(mask, "spx_2_gru.conv1.conv"), "spx_2_gru.conv1.bn"), 0.01)
                x = self.plain(torch.cat([x, half], 1), "spx_2_gru.conv2.conv")
                x = F.leaky_relu(self.batch(x, "spx_2_gru.conv2.bn"), 0.01)
                full = self.superpixels(current, self.up(x, "spx_gru.0"))
            sequence.append(full[..., top : top + high, side : side + wide])
        return first, sequence

    def rounds(self, n: int) -> list[list[int]]:
        every = list(range(n))[::-1]
        slow_fast = self.family == "igev-stereo" and self.args["slow_fast_gru"]
        return [*([every[:i] for i in range(1, n)] if slow_fast else []), every]

    # layers ----------------------------------------------------------------------------------------------------------

    def plain(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.s[f"{name}.weight"]
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def up(self, x: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(x, self.s[f"{name}.weight"], self.s.get(f"{name}.bias"), 2, 1)

    def batch(self, x: Tensor, name: str) -> Tensor:
        """Batch norm; a volume's takes its own statistics in training, as the official code leaves it."""
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        mean, var = self.s[f"{name}.running_mean"], self.s[f"{name}.running_var"]
        if self.training and x.ndim == 5:
            mean, var = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), unbiased=False)
        x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return x * self.s[f"{name}.weight"].view(shape) + self.s[f"{name}.bias"].view(shape)

    def instance(self, x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    def leaky(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        return F.leaky_relu(self.instance(self.plain(x, f"{name}.conv", stride)), 0.01)

    def merged(self, x: Tensor, finer: Tensor, name: str) -> Tensor:
        x = F.leaky_relu(self.instance(self.up(x, f"{name}.conv1.conv")), 0.01)
        return self.leaky(torch.cat([x, finer], 1), f"{name}.conv2")

    def solid(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.s[f"{name}.conv.weight"]
        if weight.shape[-1] == 4:
            x = F.conv_transpose3d(x, weight, None, 2, 1)
        else:
            x = F.conv3d(x, weight, None, stride, weight.shape[-1] // 2)
        return F.leaky_relu(self.batch(x, f"{name}.bn"), 0.01)

    # encoders --------------------------------------------------------------------------------------------------------

    def matching(self, image: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        x4, *coarser = self.pyramid(image)
        half = self.instance(self.plain(self.leaky(image, "stem_2.0", 2), "stem_2.1")).relu()
        quarter = self.instance(self.plain(self.leaky(half, "stem_4.0", 2), "stem_4.1")).relu()
        x4 = torch.cat([x4, quarter], 1)
        return self.conv(self.leaky(x4, "conv"), "desc"), [x4, *coarser], half

    def pyramid(self, image: Tensor) -> list[Tensor]:
        def depthwise(x: Tensor, name: str, stride: int) -> Tensor:
            weight = self.s[f"{name}.conv_dw.weight"]
            return F.conv2d(x, weight, None, stride, 1, groups=len(weight))

        x = self.batch(self.plain(image, "feature.conv_stem", 2), "feature.bn1").clamp(0, 6)
        x = self.batch(depthwise(x, "feature.block0.0.0", 1), "feature.block0.0.0.bn1").clamp(0, 6)
        x = self.batch(self.plain(x, "feature.block0.0.0.conv_pw"), "feature.block0.0.0.bn2")
        maps = {}
        for block, inputs, outputs, stride in BLOCKS:
            name = f"feature.block{block}"
            y = self.batch(self.plain(x, f"{name}.conv_pw"), f"{name}.bn1").clamp(0, 6)
            y = self.batch(depthwise(y, name, stride), f"{name}.bn2").clamp(0, 6)
            y = self.batch(self.plain(y, f"{name}.conv_pwl"), f"{name}.bn3")
            x = x + y if stride == 1 and inputs == outputs else y
            maps[block[0]] = x
        x16 = self.merged(maps["4"], maps["3"], "feature.deconv32_16")
        x8 = self.merged(x16, maps["2"], "feature.deconv16_8")
        x4 = self.leaky(self.merged(x8, maps["1"], "feature.deconv8_4"), "feature.conv4")
        return [x4, x8, x16, maps["4"]]

    def context(self, left: Tensor) -> tuple[list[Tensor], list[Any]]:
        seen, net, inp = self.trunk(left, "cnet", "batch"), [], []
        names = ("08", "16", "32") if self.family == "selective-raft" else STRIDES
        for i, level in enumerate(names[: self.args["n_gru_layers"]]):
            if i:
                seen = self.layer(seen, f"cnet.layer{3 + i}", "batch", 2)
            at = [f"cnet.outputs{level}.{j}" for j in (0, 1)]
            hidden, context = (self.conv(seen, n) if i == 2 else self.context_head(seen, n, "") for n in at)
            net.append(hidden.tanh())
            inp.append(self.shares(context.relu(), i))
        return net, inp

    def shares(self, context: Tensor, i: int) -> Any:
        """IGEV-Stereo: what each gate adds. Selective: the attended context, and the blend."""
        if self.family == "igev-stereo":
            return self.conv(context, f"context_zqr_convs.{i}").chunk(3, 1)
        mean, top = F.adaptive_avg_pool2d(context, 1), F.adaptive_max_pool2d(context, 1)
        mean, top = (self.plain(self.plain(x, "cam.fc.0").relu(), "cam.fc.2") for x in (mean, top))
        context = (mean + top).sigmoid() * context
        both = torch.cat([context.mean(1, keepdim=True), context.max(1, keepdim=True)[0]], 1)
        return context, self.plain(both, "sam.samconv").sigmoid()

    # volumes ---------------------------------------------------------------------------------------------------------

    def groups(self, f1: Tensor, f2: Tensor) -> Tensor:
        slices, width = [], f1.shape[-1]
        for d in range(self.args["max_disp"] // 4):
            costs = f1.new_zeros(f1.shape[0], 8, *f1.shape[-2:])
            if d < width:
                costs[..., d:] = (f1[..., d:] * f2[..., : width - d]).unflatten(1, (8, 12)).mean(2)
            slices.append(costs)
        return torch.stack(slices, 2)

    def attended(self, volume: Tensor, features: Tensor, name: str) -> Tensor:
        x = F.leaky_relu(self.batch(self.plain(features, f"{name}.feat_att.0.conv"), f"{name}.feat_att.0.bn"), 0.01)
        return self.conv(x, f"{name}.feat_att.1").sigmoid()[:, :, None] * volume

    def geometry(self, x: Tensor, features: list[Tensor]) -> Tensor:
        x = self.attended(self.solid(x, "corr_stem"), features[0], "corr_feature_att")
        levels = []
        for i, stride in ((1, 8), (2, 16), (3, 32)):
            x = self.solid(self.solid(x, f"cost_agg.conv{i}.0", 2), f"cost_agg.conv{i}.1")
            x = self.attended(x, features[i], f"cost_agg.feature_att_{stride}")
            levels.append(x)
        for i, stride in ((0, 16), (1, 8)):
            x = torch.cat([self.solid(x, f"cost_agg.conv{3 - i}_up"), levels[1 - i]], 1)
            for j in range(3):
                x = self.solid(x, f"cost_agg.agg_{i}.{j}")
            x = self.attended(x, features[2 - i], f"cost_agg.feature_att_up_{stride}")
        return F.conv_transpose3d(x, self.s["cost_agg.conv1_up.conv.weight"], None, 2, 1)

    def soft_argmin(self, logits: Tensor) -> Tensor:
        share = logits.softmax(1)
        return sum(d * share[:, d : d + 1] for d in range(share.shape[1]))  # pyright: ignore[reportReturnType]

    def combined(self, solid: Tensor, rows: Tensor, disparity: Tensor) -> Tensor:
        """Per level the geometry at d / 2^i + k, group by group, then the correlation at (x − d) / 2^i + k."""
        x, radius, out = torch.arange(rows.shape[-1], dtype=rows.dtype), self.args["corr_radius"], []
        solid = solid.permute(0, 1, 3, 4, 2)
        for i in range(self.args["corr_levels"]):
            for group in solid.unbind(1):
                out += [read(group, disparity / 2**i + k) for k in range(-radius, radius + 1)]
            out += [read(rows, (x - disparity) / 2**i + k) for k in range(-radius, radius + 1)]
            rows, solid = halved(rows), halved(solid)
        return torch.stack(out, 1)

    # recurrence ------------------------------------------------------------------------------------------------------

    def gru(self, i: int, net: list[Tensor], inp: list, disparity: Tensor, costs: Tensor) -> Tensor:
        name, h = f"update_block.gru{STRIDES[i]}", net[i]
        read = [F.avg_pool2d(net[i - 1], 3, 2, 1) if i else self.motion(disparity, costs)]
        if i + 1 < len(net):
            read.append(F.interpolate(net[i + 1], h.shape[-2:], mode="bilinear", align_corners=True))
        if self.family == "igev-stereo":
            return self.unit(h, torch.cat(read, 1), name, inp[i])
        context, blend = inp[i]
        x = torch.cat([context, *read], 1)
        small, large = (self.unit(h, x, f"{name}.{size}_gru", (0, 0, 0)) for size in ("small", "large"))
        return small * blend + large * (1 - blend)

    def unit(self, h: Tensor, x: Tensor, name: str, adds: Any) -> Tensor:
        z = (self.conv(torch.cat([h, x], 1), f"{name}.convz") + adds[0]).sigmoid()
        r = (self.conv(torch.cat([h, x], 1), f"{name}.convr") + adds[1]).sigmoid()
        q = (self.conv(torch.cat([r * h, x], 1), f"{name}.convq") + adds[2]).tanh()
        return (1 - z) * h + z * q

    def motion(self, disparity: Tensor, costs: Tensor) -> Tensor:
        def twice(x: Tensor, letter: str) -> Tensor:
            name = f"update_block.encoder.conv{letter}"
            return self.conv(self.conv(x, f"{name}1").relu(), f"{name}2").relu()

        letter, seen = ("f", -disparity) if self.family == "selective-raft" else ("d", disparity)
        both = torch.cat([twice(costs, "c"), twice(seen, letter)], 1)
        return torch.cat([self.conv(both, "update_block.encoder.conv").relu(), seen], 1)

    # upsampling ------------------------------------------------------------------------------------------------------

    def first_weights(self, features: Tensor, half: Tensor) -> Tensor:
        x = self.instance(self.plain(self.leaky(features, "spx_4.0"), "spx_4.1")).relu()
        return self.up(self.merged(x, half, "spx_2"), "spx.0")

    def superpixels(self, coarse: Tensor, logits: Tensor) -> Tensor:
        h, w = coarse.shape[-2:]
        weights, padded = logits.softmax(1), F.pad(4 * coarse, (1, 1, 1, 1))
        fine = coarse.new_zeros(())
        for n in range(9):
            neighbour = padded[:, :, n // 3 : n // 3 + h, n % 3 : n % 3 + w]
            fine = fine + weights[:, n : n + 1] * neighbour.repeat_interleave(4, 2).repeat_interleave(4, 3)
        return fine


def read(cells: Tensor, at: Tensor) -> Tensor:
    """(…, n) cells read at (…) positions by linear interpolation, zero outside."""
    low, value = at.floor(), torch.zeros_like(at)
    for tap, weight in ((low, 1 + low - at), (low + 1, at - low)):
        inside = (tap >= 0) & (tap < cells.shape[-1])
        found = cells.gather(-1, tap.clamp(0, cells.shape[-1] - 1).long().unsqueeze(-1)).squeeze(-1)
        value = value + torch.where(inside, weight * found, 0)
    return value


def halved(cells: Tensor) -> Tensor:
    even = cells.shape[-1] // 2 * 2
    return (cells[..., 0:even:2] + cells[..., 1:even:2]) / 2
