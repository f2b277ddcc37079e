"""What the rules of the contract are given: a model of tiny parts with something to feed it, or one other component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polzoo.components import Entry
from polzoo.data.stokes import Stokes
from polzoo.interfaces import StereoOutput
from polzoo.model import StereoModel
from polzoo.options import Options
from polzoo.registry import registry
from polzoo.settings import maps_of
from polzoo.spec import ModelSpec, Part, make_part
from polzoo.zoo import build, instantiate

SIZE = (64, 96)
ITERATIONS = 2


@dataclass(frozen=True, eq=False)
class Component:
    """A component that is no part of a model, made of its tiny options and ``given`` ones."""

    entry: Entry
    given: Mapping[str, Any]

    def __str__(self) -> str:
        return self.entry.key

    @cached_property
    def part(self) -> Part:
        """Name and options; a PolzooError where an option is required and not given."""
        return _part(self.entry, self.given)

    def make(self, *rest: Any) -> Any:
        """A new instance, of its options and of whatever else its kind is given."""
        return instantiate(self.entry.kind, self.part, *rest)


@dataclass(frozen=True, eq=False)
class Combination:
    """A backbone, a fusion and an update operator, each with its tiny options and those in ``given[kind]``.

    The model is made once, with seeded weights, in eval mode; a rule that changes a model makes its own by ``build``.
    """

    backbone: Entry
    fusion: Entry
    update: Entry
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.backbone.key}+{self.fusion.key}+{self.update.key}"

    @cached_property
    def spec(self) -> ModelSpec:
        entries = {"backbone": self.backbone, "fusion": self.fusion, "update": self.update}
        return ModelSpec(**{kind: _part(entry, self.given.get(kind, {})) for kind, entry in entries.items()})

    @property
    def defaults(self) -> dict[str, str]:
        """What the backbone takes for the parts that a spec leaves out."""
        return {**Options.parts, **self.backbone.options().parts}

    def keeps_defaults(self, *kinds: str) -> bool:
        """Whether these parts are the backbone's own."""
        return all(getattr(self, kind).key == self.defaults[kind] for kind in kinds)

    def with_update(self, update: Entry, **given: Any) -> Combination:
        """The same model under another update operator."""
        return replace(self, update=update, given={**self.given, "update": given})

    def build(self, *, fresh: bool = False, dtype: torch.dtype | None = None) -> StereoModel:
        """The model in eval mode, with seeded weights.

        Unless ``fresh``, a fusion that starts as the identity is moved away from it, and biases of fusion and cell are
        made positive: of the few channels that a tiny network has, all may otherwise be dead behind their ReLU.
        """
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(0)
            model = build(self.spec).eval()
            if not fresh:
                for parameter in model.fusion.parameters():
                    parameter.data += 0.2 * torch.randn_like(parameter)
                for parameter in (*model.fusion.parameters(), *model.update.parameters()):
                    if parameter.ndim == 1:
                        parameter.data.abs_()
        return model if dtype is None else model.to(dtype)

    @cached_property
    def model(self) -> StereoModel:
        return self.build()

    def inputs(self, batch: int, height: int = SIZE[0], width: int = SIZE[1]) -> dict[str, Any]:
        """Arguments of a call: samples of different brightness, and the maps that the fusion declares."""
        random = np.random.default_rng(batch)
        scale = np.array([1.0, 0.25, 0.6])[:batch, None, None, None]
        left, right = (_tensor(scale * random.random((batch, 3, height, width))) for _ in range(2))
        polarity = torch.tensor([1.0, -1.0, 1.0][:batch])
        return {"left": left, "right": right, "polarity": polarity, **self.maps(batch, height, width)}

    def maps(self, batch: int, height: int = SIZE[0], width: int = SIZE[1], seed: int = 0) -> dict[str, Any]:
        """``{"polarization": …}`` for a fusion that declares maps, else nothing."""
        random = np.random.default_rng(seed)
        found = {}
        for name in maps_of(self.model.fusion.needs):
            values = random.random((batch, 3, 1, height, width)) * np.array([1, 0.5, 0.5]).reshape(3, 1, 1, 1)
            maps = [Stokes(one.astype(np.float32)).maps() for one in values]
            found[name] = torch.from_numpy(np.stack([one[name.rpartition("_")[0]] for one in maps]))
        return {"polarization": found} if found else {}

    @torch.inference_mode()
    def __call__(self, model: StereoModel | None = None, **call: Any) -> StereoOutput:
        """The output of ``model`` (this one's own), for two iterations unless the call says otherwise."""
        return (model or self.model)(**{"iterations": ITERATIONS, **call})

    @cached_property
    def run(self) -> StereoOutput:
        """What the model makes of three samples, with every iteration and its trace."""
        return self(**self.inputs(3), all_iterations=True, trace=True)


def _part(entry: Entry, given: Mapping[str, Any]) -> Part:
    return make_part(entry.kind, entry.key, {**entry.options().tiny, **given})


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def apart(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference of two tensors of one shape; infinite where one is NaN."""
    if a.shape != b.shape:
        raise AssertionError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    return (a - b).abs().nan_to_num(nan=float("inf")).max().item() if a.numel() else 0.0


def near(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether they differ by at most ``tolerance``, relative to the largest value of the second where that is large."""
    return apart(a, b) <= tolerance * (1 + b.abs().max().item())


@cache
def _registered(backbone: Entry, fusion: Entry, update: Entry) -> Combination:
    return Combination(backbone, fusion, update)


def plain_model() -> Combination:
    """The first backbone with the parts it takes by default."""
    zoo = registry()
    backbone = zoo.entries("backbone")[0]
    defaults = {**Options.parts, **backbone.options().parts}
    return _registered(backbone, zoo.get("fusion", defaults["fusion"]), zoo.get("update", defaults["update"]))


def fused_model() -> Combination | None:
    """The same with the first fusion that has parameters, if there is one."""
    plain = plain_model()
    every = (_registered(plain.backbone, fusion, plain.update) for fusion in registry().entries("fusion"))
    return next((model for model in every if list(model.model.fusion.parameters())), None)
