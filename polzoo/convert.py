"""Official checkpoints → polzoo models: keys renamed one to one, a flow's sign folded into the weights.

RAFT-Stereo predicts a flow (x, y) with x = −disparity and y forced to 0. Three places read or write it; there the x
channel is negated and the y channel, which never has any influence, is dropped. A family of checkpoints is one
:class:`Family`: how its arguments are called, how they show in the weights, and what its modules are called.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from polzoo.backbones.options import RAFTOptions
from polzoo.errors import PolzooError, unknown
from polzoo.settings import Settings
from polzoo.spec import ModelSpec, from_dict
from polzoo.zoo import build

if TYPE_CHECKING:
    from polzoo.model import StereoModel

State = Mapping[str, Tensor]
Arguments = dict[str, Any]


class Fold(NamedTuple):
    """A flow's x and y lie at ``index`` and ``index + 1`` of ``axis``; one negated channel takes their place."""

    axis: int
    index: int

    def __call__(self, official: Tensor) -> Tensor:
        x, y = self.index, self.index + 1
        before, flow, _, after = official.tensor_split([x, y, y + 1], self.axis)
        return torch.cat([before, -flow, after], self.axis)

    def official_shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(n + (axis == self.axis) for axis, n in enumerate(ours))


@dataclass(frozen=True)
class Family:
    """How one official code base names things.

    Attributes:
        backbone: polzoo's name of the backbone.
        iterations: what the authors evaluate with.
        arguments: official argument → backbone option.
        ignored: official arguments that a model does not depend on.
        infer: arguments that show in keys and shapes, and what had to be assumed.
        names: (arguments → prefixes polzoo → official), the longest match wins.
        folds: polzoo key → what becomes of the flow channels, for the model given.
        without_influence: pattern of official keys that may be left over.
    """

    backbone: str
    iterations: int
    arguments: Mapping[str, str]
    ignored: frozenset[str]
    infer: Callable[[State], tuple[Arguments, list[str]]]
    names: Callable[[ModelSpec], dict[str, str]]
    folds: Callable[[StereoModel], dict[str, Fold]]
    without_influence: Callable[[ModelSpec], str]

    def spec(self, args: Mapping[str, Any]) -> ModelSpec:
        for name in args:
            if name not in self.arguments and name not in self.ignored:
                raise unknown("argument", name, self.arguments)
        options = {option: args[name] for name, option in self.arguments.items() if name in args}
        return from_dict({"backbone": {"name": self.backbone, "options": options}})

    def sources(self, model: StereoModel) -> dict[str, str]:
        """Every key of the model's state dict → the official key that it comes from."""
        names = self.names(model.spec)

        def official(key: str) -> str:
            prefix = max((p for p in names if key.startswith(f"{p}.")), key=len)
            return names[prefix] + key.removeprefix(prefix).replace(".skip.", ".downsample.")

        return {key: official(key) for key in model.state_dict()}


@dataclass(frozen=True)
class Conversion:
    """A converted model, the official keys that were dropped, and in words what the file alone could not tell."""

    model: StereoModel
    dropped: tuple[str, ...]
    assumed: tuple[str, ...]


def from_official(state_dict: State, family: str = "raft-stereo", args: Mapping[str, Any] | None = None) -> StereoModel:
    """The polzoo model, in eval mode, of an official state dict; see :func:`convert`."""
    return convert(state_dict, family, args).model


def convert(state_dict: State, family: str = "raft-stereo", args: Mapping[str, Any] | None = None) -> Conversion:
    """Convert an official state dict, strictly.

    Args:
        state_dict: official keys, with or without ``module.`` in front.
        family: a key of :data:`FAMILIES`.
        args: the official arguments it was trained with (those left out have their official defaults). None: read from
            keys and shapes; what does not show there (such as ``slow_fast_gru``) is assumed and said.

    Raises:
        PolzooError: unknown family or argument; keys that are missing, unexpected or misshapen, all listed.
    """
    if family not in FAMILIES:
        raise unknown("family of checkpoints", family, FAMILIES)
    rule = FAMILIES[family]
    state = {key.removeprefix("module."): value for key, value in state_dict.items()}
    given, assumed = rule.infer(state) if args is None else (dict(args), [])
    spec = rule.spec(given)
    model = build(spec, Settings(iterations=rule.iterations)).eval()

    sources, folds, own = rule.sources(model), rule.folds(model), model.state_dict()
    shapes = {s: _official_shape(folds.get(key), own[key]) for key, s in sources.items()}
    spare = re.compile(rule.without_influence(spec))
    left_over = [key for key in state if key not in shapes]
    wrong = {
        "missing": [key for key in shapes if key not in state],
        "unexpected": [key for key in left_over if not spare.fullmatch(key)],
        "misshapen": [
            f"{key} {tuple(state[key].shape)}, not {shape}"
            for key, shape in shapes.items()
            if key in state and tuple(state[key].shape) != shape
        ],
    }
    if any(wrong.values()):
        listed = "; ".join(f"{what}: {_some(keys)}" for what, keys in wrong.items() if keys)
        raise PolzooError(f"these weights are no {family} with {spec}: {listed}{_hint(rule, state, spec)}")
    model.load_state_dict({key: folds.get(key, lambda t: t)(state[source]) for key, source in sources.items()})
    return Conversion(model, tuple(left_over), tuple(assumed))


def read_pth(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a ``.pth`` or ``.safetensors`` file. No code in it is ever run."""
    path = Path(path)
    if not os.path.isfile(path):
        raise PolzooError(f"{path} is not a file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch thinks of a pickle's protocol, before it refuses it
                state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not path.read_bytes()[:2].startswith((b"PK", b"\x80")):
            raise PolzooError(f"{path} is no checkpoint: neither a PyTorch file nor safetensors") from error
        raise PolzooError(f"{path} holds more than tensors; it is not opened, because a pickle can run code") from error
    except Exception as error:  # damage takes every form here, KeyError among them
        raise PolzooError(f"{path} cannot be read; it is damaged, or no checkpoint ({type(error).__name__})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    entries = state.items() if isinstance(state, dict) else ()
    if not entries or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in entries):
        raise PolzooError(f"{path} holds no state dict (names and tensors)")
    return dict(entries)


def _official_shape(fold: Fold | None, ours: Tensor) -> tuple[int, ...]:
    return tuple(ours.shape) if fold is None else fold.official_shape(tuple(ours.shape))


def _some(keys: Iterable[str], limit: int = 20) -> str:
    keys = list(keys)
    return ", ".join(keys[:limit]) + (f", … ({len(keys)} in all)" if len(keys) > limit else "")


def _hint(rule: Family, state: State, spec: ModelSpec) -> str:
    """Which arguments the weights look like, where they differ from the spec's."""
    try:
        seen = rule.infer(state)[0]
        looks, is_ = rule.spec(seen).backbone.options, spec.backbone.options
    except PolzooError:
        return ""
    differ = [n for n, o in rule.arguments.items() if n in seen and getattr(looks, o) != getattr(is_, o)]
    return f". It looks like {', '.join(f'{n}={seen[n]!r}' for n in differ)}" if differ else ""


# --------------------------------------------------------------------------------------------------------- RAFT-Stereo

_LEVELS = ("08", "16", "32")


def _raft_infer(state: State) -> tuple[Arguments, list[str]]:
    def size(key: str, axis: int = 0) -> int:
        if key not in state or state[key].ndim <= axis:
            raise PolzooError(f"these weights are no raft-stereo: {key} is missing or misshapen")
        return state[key].shape[axis]

    assumed = ["slow_fast_gru=False (it does not show in the weights)"]
    if "cnet.norm1.running_mean" in state:
        norm = "batch"
    elif "cnet.norm1.weight" in state:
        norm = "group"
    else:
        norm = "instance"
        assumed.append("context_norm='instance' ('none' has the same weights)")
    planes = size("update_block.encoder.convc1.weight", 1)
    splits = [(n, r) for n in range(1, 9) for r in range(1, 17) if n * (2 * r + 1) == planes]
    if not splits:
        raise PolzooError(f"{planes} lookup channels are no levels × (2 radius + 1); give corr_levels and corr_radius")
    levels, radius = min(splits, key=lambda split: (split[1] != 4, split[0] != 4))
    if len(splits) > 1:
        assumed.append(f"corr_levels={levels}, corr_radius={radius} (one way to make {planes} lookup channels)")
    args = {
        "n_gru_layers": sum(re.fullmatch(r"context_zqr_convs\.\d+\.weight", key) is not None for key in state),
        "shared_backbone": any(key.startswith("conv2.") for key in state),
        "n_downsample": {36: 1, 144: 2, 576: 3}.get(size("update_block.mask.2.weight"), 0),
        "hidden_dims": [size(f"update_block.gru{level}.convz.weight") for level in reversed(_LEVELS)],
        "context_norm": norm,
        "corr_levels": levels,
        "corr_radius": radius,
    }
    return args, assumed


def _raft_options(spec: ModelSpec) -> RAFTOptions:
    options = spec.backbone.options
    assert isinstance(options, RAFTOptions)
    return options


def _raft_names(spec: ModelSpec) -> dict[str, str]:
    names = {
        **_trunk("backbone.cnet.trunk", "cnet"),
        "backbone.cnet.coarser.0": "cnet.layer4",
        "backbone.cnet.coarser.1": "cnet.layer5",
        "backbone.gates": "context_zqr_convs",
        "update.cost.0": "update_block.encoder.convc1",
        "update.cost.2": "update_block.encoder.convc2",
        "update.disparity.0": "update_block.encoder.convf1",
        "update.disparity.2": "update_block.encoder.convf2",
        "update.motions.0": "update_block.encoder.conv",
        "update.delta.0": "update_block.flow_head.conv1",
        "update.delta.2": "update_block.flow_head.conv2",
        "update.weights": "update_block.mask",
    }
    for i, level in enumerate(_LEVELS):
        names[f"backbone.cnet.hidden.{i}"] = f"cnet.outputs{level}.0"
        names[f"backbone.cnet.context.{i}"] = f"cnet.outputs{level}.1"
        names[f"update.grus.{i}"] = f"update_block.gru{level}"
    if _raft_options(spec).shared_backbone:
        return {**names, "backbone.fnet": "conv2"}
    return {**names, **_trunk("backbone.fnet.0", "fnet"), "backbone.fnet.1": "fnet.conv2"}


def _trunk(ours: str, official: str) -> dict[str, str]:
    stem = {f"{ours}.0.0": f"{official}.conv1", f"{ours}.0.1": f"{official}.norm1"}
    return stem | {f"{ours}.{i}": f"{official}.layer{i}" for i in (1, 2, 3)}


def _raft_folds(model: StereoModel) -> dict[str, Fold]:
    """Disparity enters the motion encoder, passes it by (last of its channels), and leaves through the head."""
    weights = model.state_dict()
    at = len(weights["update.grus.0.convz.weight"]) + len(weights["update.motions.0.weight"])
    gates = {f"update.grus.0.{gate}.weight": Fold(1, at) for gate in ("convz", "convr", "convq")}
    head = {"update.delta.2.weight": Fold(0, 0), "update.delta.2.bias": Fold(0, 0)}
    return {"update.disparity.0.weight": Fold(1, 0), **head, **gates}


def _raft_without_influence(spec: ModelSpec) -> str:
    """``norm3`` is ``downsample.1`` under a second name; GRU levels that are not used are there all the same."""
    unused = [f"cnet.layer{3 + i}|cnet.outputs{_LEVELS[i]}|update_block.gru{_LEVELS[i]}" for i in (1, 2)]
    return "|".join([r".*\.norm3\.\w+", *(f"({part})\\..*" for part in unused[_raft_options(spec).gru_levels - 1 :])])


_TRAINING = frozenset(
    {"name", "restore_ckpt", "mixed_precision", "precision_dtype", "batch_size", "train_datasets", "dataset", "lr"}
    | {"num_steps", "image_size", "train_iters", "valid_iters", "wdecay", "img_gamma", "saturation_range", "do_flip"}
    | {"spatial_scale", "noyjitter", "logdir"}
)

FAMILIES: dict[str, Family] = {
    "raft-stereo": Family(
        backbone="raft",
        iterations=32,
        arguments={
            "n_gru_layers": "gru_levels",
            "n_downsample": "downsample",
            "shared_backbone": "shared_backbone",
            "slow_fast_gru": "slow_fast",
            "context_norm": "context_norm",
            "hidden_dims": "hidden_dims",
            "corr_levels": "corr_levels",
            "corr_radius": "corr_radius",
            "corr_implementation": "lookup",
        },
        ignored=_TRAINING,
        infer=_raft_infer,
        names=_raft_names,
        folds=_raft_folds,
        without_influence=_raft_without_influence,
    )
}
"""Every official code base whose checkpoints can be read."""
