"""Official checkpoints → polzoo models: keys renamed one to one, channels put in our order, signs folded in.

RAFT-Stereo predicts a flow (x, y) with x = −disparity and y forced to 0. Three places read or write it; there the x
channel is negated and the y channel, which never has any influence, is dropped. What each code base calls its modules
and arguments stands in :mod:`polzoo.families`.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polzoo.errors import PolzooError, unknown
from polzoo.families import FAMILIES, Family, Slices, State
from polzoo.settings import Settings
from polzoo.spec import ModelSpec
from polzoo.zoo import build

if TYPE_CHECKING:
    from polzoo.model import StereoModel


@dataclass(frozen=True)
class Conversion:
    """A converted model, the official keys that were dropped, and in words what the file alone could not tell."""

    model: StereoModel
    dropped: tuple[str, ...]
    assumed: tuple[str, ...]


def from_official(state_dict: State, family: str = "raft-stereo", args: Mapping[str, Any] | None = None) -> StereoModel:
    """The polzoo model, in eval mode, of an official state dict; :func:`convert` also says what it had to assume."""
    return convert(state_dict, family, args).model


def convert(state_dict: State, family: str = "raft-stereo", args: Mapping[str, Any] | None = None) -> Conversion:
    """Convert an official state dict, strictly.

    Args:
        state_dict: official keys, with or without ``module.`` in front.
        family: a key of :data:`FAMILIES`.
        args: official arguments it was trained with. Those left out are read from keys and shapes; what does not show
            there (such as ``slow_fast_gru``) is assumed and said.

    Raises:
        PolzooError: unknown family or argument; weights of another family; keys that are missing, unexpected or
            misshapen, all listed.
    """
    if family not in FAMILIES:
        raise unknown("family of checkpoints", family, FAMILIES)
    rule = FAMILIES[family]
    state = {key.removeprefix("module."): value for key, value in state_dict.items()}
    looks = [name for name, other in FAMILIES.items() if all(mark in state for mark in other.marks)]
    if looks and family not in looks:
        raise PolzooError(f"these weights are no {family}: they look like {looks[0]}; give family={looks[0]!r}")
    given, assumed = _infer(rule, family, state, dict(args or {}))
    spec = rule.spec(given)
    model = build(spec, Settings(iterations=rule.iterations)).eval()

    sources, slices, own = rule.sources(model), rule.slices(model), model.state_dict()
    shapes = {source: _official_shape(slices.get(key), own[key]) for key, source in sources.items()}
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
    model.load_state_dict({key: slices.get(key, lambda t: t)(state[source]) for key, source in sources.items()})
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


def _infer(rule: Family, family: str, state: State, args: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """All arguments, the given ones before those read from the weights, and what was assumed of those not given."""
    try:
        seen, assumed = rule.infer(state)
    except PolzooError as error:
        if args:
            return args, []
        raise PolzooError(f"these weights are no {family}: {error}") from error
    return {**seen, **args}, [text for text in assumed if text.partition("=")[0] not in args]


def _official_shape(slices: Slices | None, ours: Tensor) -> tuple[int, ...]:
    return tuple(ours.shape) if slices is None else slices.official_shape(tuple(ours.shape))


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
