"""What holds of an importance: a map of where refinement pays."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polzoo.errors import PolzooError
from polzoo.interfaces import Encoding
from polzoo.testing.contract import require, rule
from polzoo.testing.subjects import Component, apart, plain_model


@rule("importance")
def map_of_the_grid(component: Component) -> None:
    """It gives finite values (B, 1, h, w) on the feature grid, larger where refinement pays more.

    Look at what is returned. One that needs what the encoding or the step lacks says so by a PolzooError.
    """
    encoding, disparity = _situation()
    for given in (encoding, replace(encoding, importance=None)):
        try:
            found = _run(component, given, disparity)
        except PolzooError:
            require(given.importance is None, "it refuses an encoding that has an importance")
            continue
        require(found.shape == disparity.shape, f"it is {tuple(found.shape)} instead of {tuple(disparity.shape)}")
        require(torch.isfinite(found).all(), "it is not finite")


@rule("importance")
def repeats(component: Component) -> None:
    """The same call gives the same map, from another instance too.

    Look for random numbers and for state that a call changes.
    """
    encoding, disparity = _situation()
    one, other = _run(component, encoding, disparity), _run(component, encoding, disparity)
    require(torch.equal(one, other), f"the maps differ by {apart(one, other):.2g}")


@rule("importance")
def batch_mates(component: Component) -> None:
    """Each sample of a batch gets what it gets alone.

    Look for a maximum, mean or sort over dimension 0.
    """
    encoding, disparity = _situation()
    alone = replace(
        encoding,
        matching=(encoding.matching[0][:1], encoding.matching[1][:1]),
        hidden=tuple(x[:1] for x in encoding.hidden),
        context=tuple(x[:1] for x in encoding.context),
        importance=encoding.importance[:1],  # pyright: ignore[reportOptionalSubscript]
    )
    off = apart(_run(component, alone, disparity[:1]), _run(component, encoding, disparity)[:1])
    require(off < 1e-4, f"sample 0 differs by {off:.2g}")


def _situation() -> tuple[Encoding, Tensor]:
    """An encoding with an importance, and the disparity that a step starts from."""
    model = plain_model()
    with torch.inference_mode():
        prepared = model.model.prepare(**model.inputs(2), iterations=2)
    scale = torch.tensor([1.0, 5.0]).view(2, 1, 1, 1)
    random = torch.Generator().manual_seed(1)
    importance, disparity = (torch.rand(prepared.first.shape, generator=random) for _ in range(2))
    return replace(prepared.encoding, importance=importance, extra=None), scale * disparity


def _run(component: Component, encoding: Encoding, disparity: Tensor) -> Tensor:
    model = plain_model()
    with torch.inference_mode():
        inputs = {name: value[: len(disparity)] for name, value in model.inputs(2).items()}
        first = next(iter(model.model.prepare(**inputs, iterations=2).call.steps(0)))
        return component.make()(encoding, disparity, first)
