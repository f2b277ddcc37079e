"""How the official code bases name things: one :class:`Family` each, read by :mod:`polzoo.convert`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from polzoo.backbones.options import IGEVOptions, RAFTOptions
from polzoo.errors import PolzooError, unknown
from polzoo.spec import ModelSpec, from_dict

if TYPE_CHECKING:
    from polzoo.model import StereoModel

State = Mapping[str, Tensor]
Arguments = dict[str, Any]


class Slices(NamedTuple):
    """Our channels along ``axis``: pieces (start, stop, sign) of the official ``size``; what is in none is dropped."""

    axis: int
    size: int
    pieces: tuple[tuple[int, int, int], ...]

    def __call__(self, official: Tensor) -> Tensor:
        found = [(official.narrow(self.axis, start, stop - start), sign) for start, stop, sign in self.pieces]
        return torch.cat([part if sign > 0 else -part for part, sign in found], self.axis)

    def official_shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.size if axis == self.axis else n for axis, n in enumerate(ours))


@dataclass(frozen=True)
class Family:
    """How one official code base names things.

    Attributes:
        backbone: polzoo's name of the backbone, and ``options`` that this family always has.
        marks: official keys that, together, no other family has.
        arguments: official argument → backbone option.
        infer: arguments that show in keys and shapes, and what had to be assumed.
        names: polzoo prefix → official prefix for a spec; the longest match wins.
        slices: polzoo key → which official channels it is made of, where that is not all of them in their order.
        without_influence: pattern of official keys that may be left over.
        fixed: official arguments that only run with one value.
        ignored: official arguments that a model does not depend on.
        iterations: what the authors evaluate with.
    """

    backbone: str
    marks: tuple[str, ...]
    arguments: Mapping[str, str]
    infer: Callable[[State], tuple[Arguments, list[str]]]
    names: Callable[[ModelSpec], dict[str, str]]
    slices: Callable[[StereoModel], dict[str, Slices]]
    without_influence: Callable[[ModelSpec], str]
    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    iterations: int = 32

    def spec(self, args: Mapping[str, Any]) -> ModelSpec:
        for name, value in args.items():
            if name in self.fixed and value != self.fixed[name]:
                raise PolzooError(
                    f"{name}={value!r} does not run in the official code; it must be {self.fixed[name]!r}"
                )
            if name not in {*self.arguments, *self.fixed, *self.ignored, *_TRAINING}:
                raise unknown("argument", name, {**self.arguments, **self.fixed})
        options = {option: args[name] for name, option in self.arguments.items() if name in args}
        return from_dict({"backbone": {"name": self.backbone, "options": {**self.options, **options}}})

    def sources(self, model: StereoModel) -> dict[str, str]:
        """Every key of the model's state dict → the official key that it comes from."""
        names = self.names(model.spec)

        def official(key: str) -> str:
            prefix = max((p for p in names if key.startswith(f"{p}.")), key=len)
            return names[prefix] + key.removeprefix(prefix).replace(".skip.", ".downsample.")

        return {key: official(key) for key in model.state_dict()}


_TRAINING = frozenset(
    {"name", "restore_ckpt", "mixed_precision", "precision_dtype", "batch_size", "train_datasets", "dataset", "lr"}
    | {"num_steps", "image_size", "train_iters", "valid_iters", "wdecay", "img_gamma", "saturation_range", "do_flip"}
    | {"spatial_scale", "noyjitter", "logdir", "path"}
)
_SLOW_FAST = "slow_fast_gru=False (it does not show in the weights)"

# ----------------------------------------------------------------------------------- what the code bases have in common

Levels = Sequence[str]  # how official names call the levels, finest first


def _size(state: State, key: str, axis: int = 0) -> int:
    if key not in state or state[key].ndim <= axis:
        raise PolzooError(f"{key} is missing or misshapen")
    return state[key].shape[axis]


def _window(state: State, per_value: int) -> tuple[Arguments, list[str]]:
    """Levels and radius of the lookup, from the channels that the motion encoder reads."""
    planes = _size(state, "update_block.encoder.convc1.weight", 1)
    splits = [(n, r) for n in range(1, 9) for r in range(1, 17) if n * (2 * r + 1) * per_value == planes]
    if not splits:
        raise PolzooError(f"{planes} lookup channels are no levels × (2 radius + 1); give corr_levels and corr_radius")
    levels, radius = min(splits, key=lambda split: (abs(split[1] - 4), abs(split[0] - 4)))
    said = f"corr_levels={levels}, corr_radius={radius} (one way to make {planes} lookup channels)"
    return {"corr_levels": levels, "corr_radius": radius}, [said] if len(splits) > 1 else []


def _numbered(state: State, pattern: str) -> int:
    """How many keys there are of a pattern."""
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _trunk(ours: str, official: str) -> dict[str, str]:
    stem = {f"{ours}.0.0": f"{official}.conv1", f"{ours}.0.1": f"{official}.norm1"}
    return stem | {f"{ours}.{i}": f"{official}.layer{i}" for i in (1, 2, 3)}


def _context_names(levels: Levels) -> dict[str, str]:
    heads = {
        f"backbone.cnet.{kind}.{i}": f"cnet.outputs{level}.{j}"
        for i, level in enumerate(levels)
        for j, kind in enumerate(("hidden", "context"))
    }
    coarser = {f"backbone.cnet.coarser.{i}": f"cnet.layer{4 + i}" for i in (0, 1)}
    return _trunk("backbone.cnet.trunk", "cnet") | coarser | heads


def _cell_names(levels: Levels, second: str, head: str, mask: str) -> dict[str, str]:
    layers = {"cost.0": "convc1", "cost.2": "convc2", "motions.0": "conv"}
    layers |= {"disparity.0": f"conv{second}1", "disparity.2": f"conv{second}2"}
    names = {f"update.{ours}": f"update_block.encoder.{official}" for ours, official in layers.items()}
    names |= {"update.delta.0": f"update_block.{head}.conv1", "update.delta.2": f"update_block.{head}.conv2"}
    names |= {f"update.grus.{i}": f"update_block.gru{level}" for i, level in enumerate(levels)}
    return names | {"update.weights": f"update_block.{mask}"}


def _selective_names(levels: Levels) -> dict[str, str]:
    kernels = {
        f"update.grus.{i}.{kernel}": f"update_block.gru{level}.{kernel}_gru"
        for i, level in enumerate(levels)
        for kernel in ("small", "large")
    }
    return kernels | {"backbone.gates.channel": "cam.fc", "backbone.gates.spatial": "sam.samconv"}


def _gates(model: StereoModel, level: int) -> list[tuple[str, int]]:
    """Keys of a level's gate weights, and how many channels the gates read."""
    weights, start = model.state_dict(), f"update.grus.{level}."
    return [(key, w.shape[1]) for key, w in weights.items() if key.startswith(start) and key.endswith(".weight")]


def _context_last(model: StereoModel, sign: int) -> dict[str, Slices]:
    """Selective gates: officially [state, context, what is read], here the context last, so that it can be hoisted.

    ``sign`` is that of the disparity, which at the finest level is the last channel of the motion features.
    """
    found, motion = {}, model.state_dict()["update.motions.0.weight"].shape[0]
    for level, hidden in enumerate(model.backbone.host.hidden_dims):
        start = 2 * hidden
        for key, size in _gates(model, level):
            read = [(start, size, 1)]
            if level == 0:
                at = start + motion
                read = [(start, at, 1), (at, at + 1, sign)] + [(at + 1, size, 1)] * (size > at + 1)
            found[key] = Slices(1, size, ((0, hidden, 1), *read, (hidden, start, 1)))
    return found


def _unused(spec: ModelSpec, outputs: Levels, grus: Levels) -> list[str]:
    """``norm3`` is ``downsample.1`` under a second name; levels that are not used may be there all the same."""
    options = spec.backbone.options
    assert isinstance(options, RAFTOptions | IGEVOptions)
    levels = range(options.gru_levels, 3)
    unused = [f"(cnet.layer{3 + i}|cnet.outputs{outputs[i]}|update_block.gru{grus[i]})\\..*" for i in levels]
    return [r".*\.norm3\.\w+", *unused]


# --------------------------------------------------------------------------------------- RAFT-Stereo and Selective-RAFT

_BELOW_4 = ("08", "16", "32")
_FROM_4 = ("04", "08", "16")


def _raft_infer(state: State) -> tuple[Arguments, list[str]]:
    window, assumed = _window(state, 1)
    if "cnet.norm1.running_mean" in state:
        norm = "batch"
    elif "cnet.norm1.weight" in state:
        norm = "group"
    else:
        norm = "instance"
        assumed = ["context_norm='instance' ('none' has the same weights)", *assumed]
    args = {
        "n_gru_layers": _numbered(state, r"context_zqr_convs\.\d+\.weight"),
        "shared_backbone": any(key.startswith("conv2.") for key in state),
        "n_downsample": _downsample(state),
        "hidden_dims": [_size(state, f"update_block.gru{level}.convz.weight") for level in reversed(_BELOW_4)],
        "context_norm": norm,
    }
    return args | window, [_SLOW_FAST, *assumed]


def _downsample(state: State) -> int:
    return {36: 1, 144: 2, 576: 3}.get(_size(state, "update_block.mask.2.weight"), 0)


def _raft_names(spec: ModelSpec) -> dict[str, str]:
    options = spec.backbone.options
    assert isinstance(options, RAFTOptions)
    names = _context_names(_BELOW_4) | _cell_names(_BELOW_4, "f", "flow_head", "mask")
    names["backbone.gates"] = "context_zqr_convs"
    if options.shared_backbone:
        return {**names, "backbone.fnet": "conv2"}
    return {**names, **_trunk("backbone.fnet.0", "fnet"), "backbone.fnet.1": "fnet.conv2"}


def _raft_slices(model: StereoModel) -> dict[str, Slices]:
    """A flow (x, y) enters the motion encoder, passes it by (last of its channels), and leaves through the head."""
    weights = model.state_dict()

    def flow(key: str, axis: int, at: int) -> Slices:
        size = weights[key].shape[axis] + 1
        pieces = ((0, at, 1), (at, at + 1, -1), (at + 2, size, 1))
        return Slices(axis, size, tuple(piece for piece in pieces if piece[0] < piece[1]))

    at = len(weights["update.grus.0.convz.weight"]) + len(weights["update.motions.0.weight"])
    found = {key: flow(key, 1, at) for key, _ in _gates(model, 0)}
    found |= {key: flow(key, 0, 0) for key in ("update.delta.2.weight", "update.delta.2.bias")}
    return found | {"update.disparity.0.weight": flow("update.disparity.0.weight", 1, 0)}


def _selective_raft_infer(state: State) -> tuple[Arguments, list[str]]:
    args, assumed = _window(state, 1)
    levels = _numbered(state, r"update_block\.gru\d+\.small_gru\.convz\.weight")
    return args | {"n_gru_layers": levels, "n_downsample": _downsample(state)}, assumed


def _selective_raft_names(spec: ModelSpec) -> dict[str, str]:
    names = _context_names(_BELOW_4) | _cell_names(_FROM_4, "f", "disp_head", "mask") | _selective_names(_FROM_4)
    return {**names, **_trunk("backbone.fnet.0", "fnet"), "backbone.fnet.1": "fnet.conv2"}


def _selective_raft_slices(model: StereoModel) -> dict[str, Slices]:
    """One negative disparity where RAFT-Stereo has a flow: only signs change."""
    negative = {key: Slices(0, 1, ((0, 1, -1),)) for key in ("update.delta.2.weight", "update.delta.2.bias")}
    negative["update.disparity.0.weight"] = Slices(1, 1, ((0, 1, -1),))
    return negative | _context_last(model, -1)


# --------------------------------------------------------------------------------------- IGEV-Stereo and Selective-IGEV


def _igev_infer(state: State) -> tuple[Arguments, list[str]]:
    heads = ("cnet.outputs16.0.weight", "cnet.outputs08.0.1.weight", "cnet.outputs04.0.1.weight")
    window, assumed = _window(state, 9)
    selective = _numbered(state, r"update_block\.gru\d+\.small_gru\.convz\.weight")
    args = {
        "n_gru_layers": selective or _numbered(state, r"context_zqr_convs\.\d+\.weight"),
        "hidden_dims": [_size(state, key) for key in heads],
    }
    unseen = ["max_disp=192 (it does not show in the weights)", *([] if selective else [_SLOW_FAST])]
    return args | window, [*unseen, *assumed]


def _igev_names(spec: ModelSpec) -> dict[str, str]:
    options = spec.backbone.options
    assert isinstance(options, IGEVOptions)
    names = _context_names(_FROM_4) | _cell_names(_FROM_4, "d", "disp_head", "mask_feat_4")
    names |= _selective_names(_FROM_4) if options.cell == "selective" else {"backbone.gates": "context_zqr_convs"}
    return names | {f"backbone.{ours}": official for ours, official in {**_IGEV_FEATURES, **_IGEV_GEOMETRY}.items()}


_IGEV_FEATURES = {
    "fnet.pyramid.trunk.stem.0": "feature.conv_stem",
    "fnet.pyramid.trunk.stem.1": "feature.bn1",
    **{f"fnet.pyramid.trunk.blocks.{i}": f"feature.block{i}" for i in range(5)},
    **{
        f"fnet.pyramid.down.{i}.{ours}": f"feature.deconv{sizes}.{official}"
        for i, sizes in enumerate(("32_16", "16_8", "8_4"))
        for ours, official in (("up", "conv1"), ("conv", "conv2"))
    },
    "fnet.pyramid.out": "feature.conv4",
    "fnet.to_half": "stem_2",
    "fnet.to_quarter": "stem_4",
    "fnet.match.0": "conv",
    "fnet.match.1": "desc",
    "superpixels.merge.up": "spx_2_gru.conv1",
    "superpixels.merge.conv": "spx_2_gru.conv2",
    "superpixels.out": "spx_gru.0",
    "first_quarter": "spx_4",
    "first_superpixels.merge.up": "spx_2.conv1",
    "first_superpixels.merge.conv": "spx_2.conv2",
    "first_superpixels.out": "spx.0",
}

_IGEV_GEOMETRY = {
    "regulariser.stem": "corr_stem",
    "regulariser.attend": "corr_feature_att.feat_att",
    "regulariser.classifier": "classifier",
    **{f"regulariser.hourglass.down.{i}": f"cost_agg.conv{i + 1}" for i in range(3)},
    **{f"regulariser.hourglass.attend.{i}": f"cost_agg.feature_att_{8 << i}.feat_att" for i in range(3)},
    **{f"regulariser.hourglass.up.{i}": f"cost_agg.conv{3 - i}_up" for i in range(2)},
    **{f"regulariser.hourglass.merge.{i}": f"cost_agg.agg_{i}" for i in range(2)},
    **{f"regulariser.hourglass.attend_up.{i}": f"cost_agg.feature_att_up_{16 >> i}.feat_att" for i in range(2)},
    "regulariser.hourglass.out": "cost_agg.conv1_up.conv",
}


def _igev_without_influence(spec: ModelSpec) -> str:
    """The last layer of the hourglass has a batch norm that is never called."""
    return "|".join([*_unused(spec, _FROM_4, _FROM_4), r"cost_agg\.conv1_up\.bn\.\w+"])


# ------------------------------------------------------------------------------------------------------------ the table

_LOOKUP = {"corr_levels": "corr_levels", "corr_radius": "corr_radius"}
_RAFT = {"n_gru_layers": "gru_levels", "n_downsample": "downsample", "corr_implementation": "lookup", **_LOOKUP}
_IGEV = {"n_gru_layers": "gru_levels", "hidden_dims": "hidden_dims", "max_disp": "max_disp", **_LOOKUP}
_SMALL_GRU = "update_block.gru04.small_gru.convz.weight"

FAMILIES: dict[str, Family] = {
    "raft-stereo": Family(
        backbone="raft",
        marks=("update_block.flow_head.conv1.weight",),
        arguments={
            **_RAFT,
            "shared_backbone": "shared_backbone",
            "slow_fast_gru": "slow_fast",
            "context_norm": "context_norm",
            "hidden_dims": "hidden_dims",
        },
        infer=_raft_infer,
        names=_raft_names,
        slices=_raft_slices,
        without_influence=lambda spec: "|".join(_unused(spec, _BELOW_4, _BELOW_4)),
    ),
    "selective-raft": Family(
        backbone="raft",
        marks=(_SMALL_GRU, "update_block.mask.0.weight"),
        arguments=_RAFT,
        infer=_selective_raft_infer,
        names=_selective_raft_names,
        slices=_selective_raft_slices,
        without_influence=lambda spec: "|".join(_unused(spec, _BELOW_4, _FROM_4)),
        options={"cell": "selective"},
        fixed={"hidden_dim": 128},
        ignored=frozenset({"shared_backbone"}),
    ),
    "igev-stereo": Family(
        backbone="igev",
        marks=("update_block.gru04.convz.weight", "update_block.mask_feat_4.0.weight"),
        arguments={"slow_fast_gru": "slow_fast", **_IGEV},
        infer=_igev_infer,
        names=_igev_names,
        slices=lambda model: {},
        without_influence=_igev_without_influence,
        options={"cell": "conv"},
        fixed={"n_downsample": 2},
        ignored=frozenset({"shared_backbone", "corr_implementation"}),
    ),
    "selective-igev": Family(
        backbone="igev",
        marks=(_SMALL_GRU, "update_block.mask_feat_4.0.weight"),
        arguments=_IGEV,
        infer=_igev_infer,
        names=_igev_names,
        slices=lambda model: _context_last(model, 1),
        without_influence=_igev_without_influence,
        fixed={"n_downsample": 2},
        ignored=frozenset({"shared_backbone", "corr_implementation", "slow_fast_gru"}),
    ),
}
"""Every official code base whose checkpoints can be read."""
