"""What holds of an update operator, on the cell of every backbone."""

from __future__ import annotations

import torch

from polzoo.registry import registry
from polzoo.testing.contract import require, rule, skip
from polzoo.testing.subjects import Combination, apart


@rule("update")
def no_tensors(model: Combination) -> None:
    """An update operator has neither parameters nor buffers, so that every checkpoint runs under every operator.

    Keep what is computed in the state that a call returns, or in a local variable.
    """
    operator = model.model.operator
    names = [name for name, _ in (*operator.named_parameters(), *operator.named_buffers())]
    require(not names, f"it has {', '.join(names)}")


@rule("update")
def step(model: Combination) -> None:
    """A step returns the states of all levels and an increment Δ as maps, with Δ = 0 where the state was left alone.

    Scatter increments of the refined pixels into zeros, and states into the old ones.
    """
    made, operator = model.model, model.model.operator
    with torch.inference_mode():
        prepared = made.prepare(**model.inputs(2), iterations=2)
        hidden, disparity = prepared.start
        first = next(iter(prepared.call.steps(0)))
        at = operator.sites(made.update, prepared.encoding, disparity, first)
        cost = prepared.volume.lookup(disparity, at.grow(made.update.lookup_reach))
        context = made.update.prepare(prepared.encoding.context)
        new, delta = operator(made.update, hidden, context, cost, disparity, at)
    require(delta.shape == disparity.shape, f"Δ is {tuple(delta.shape)} instead of {tuple(disparity.shape)}")
    shapes = [[tuple(x.shape) for x in states] for states in (new, hidden)]
    require(shapes[0] == shapes[1], f"the states are {shapes[0]} instead of {shapes[1]}")
    alone = (new[0] == hidden[0]).all(1, keepdim=True)
    share = 100 * (delta[alone] != 0).float().mean().item() if alone.any() else 0.0
    require(share == 0, f"Δ is not 0 at {share:.3g} % of the pixels whose state did not change")


@rule("update")
def full_density(model: Combination) -> None:
    """At full density every operator gives what the backbone's own one gives.

    Look for pixels that are left out, for reaches that are too small, and for states that are updated in another order.
    """
    if model.keeps_defaults("update"):
        skip("it is the backbone's own, which the others are compared with")
    full = {"density": 1.0} if "density" in model.update.options().model_fields else {}
    inputs, own = model.inputs(2), registry().get("update", model.defaults["update"])
    found, wanted = (m(**inputs).disparity for m in (model.with_update(model.update, **full), model.with_update(own)))
    require(apart(found, wanted) < 1e-3, f"the disparities differ by {apart(found, wanted):.2g} px")
