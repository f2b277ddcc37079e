"""What holds of a recipe: a module whose forward pass is a loss that can be descended on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from polzoo.data.loader import collate
from polzoo.data.sample import Sample
from polzoo.interfaces import Recipe
from polzoo.testing.contract import require, rule
from polzoo.testing.subjects import ITERATIONS, SIZE, Combination, Component, fused_model, plain_model

STEPS, RATE = 8, 1e-3


@rule("recipe")
def losses(component: Component) -> None:
    """``forward(batch)`` returns finite numbers by name, among them ``loss``, through which gradients flow.

    Look for sums over pixels of which there may be none, and for a loss that was detached.
    """
    for model in _models():
        found = _recipe(component, model)(_batch())
        require("loss" in found, f"it returned {', '.join(found) or 'nothing'}")
        for name, value in found.items():
            single = isinstance(value, Tensor) and value.ndim == 0
            require(single, f"{name} is {tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}")
            require(torch.isfinite(value), f"{name} is {value.item()}")
        require(found["loss"].requires_grad, "no gradient flows through loss")


@rule("recipe")
def parameter_groups(component: Component) -> None:
    """The optimiser's groups hold every parameter that requires a gradient once, each group with its own ``lr``; the
    options have the ``weight_decay`` and ``eps`` that AdamW is made with.

    Freeze what is not trained by ``requires_grad_(False)``.
    """
    for model in _models():
        recipe = _recipe(component, model)
        groups = recipe.parameter_groups()
        rates = [group.get("lr") for group in groups]
        require(all(isinstance(rate, float) and rate > 0 for rate in rates), f"the rates are {rates}")
        grouped = [id(p) for group in groups for p in group["params"]]
        require(len(grouped) == len(set(grouped)), "a parameter is in them twice")
        trained = {id(p): name for name, p in recipe.named_parameters() if p.requires_grad}
        lost = [name for key, name in trained.items() if key not in grouped]
        require(not lost, f"{len(lost)} that require a gradient are in none, such as {lost and lost[0]}")
        require(set(grouped) <= trained.keys(), "they hold parameters that do not require a gradient")
        missing = [name for name in ("weight_decay", "eps") if not hasattr(recipe.options, name)]
        require(not missing, f"the options have no {', '.join(missing)}")


@rule("recipe")
def gradients(component: Component) -> None:
    """A backward pass brings finite gradients to every group, not all 0, and none to what is frozen.

    Look for ``detach``, and for parts of the model that the loss does not depend on.
    """
    recipe = _recipe(component)
    recipe(_batch())["loss"].backward()
    for i, group in enumerate(recipe.parameter_groups()):
        found = [p.grad for p in group["params"] if p.grad is not None]
        require(all(torch.isfinite(g).all() for g in found), f"group {i} gets some that are not finite")
        require(any((g != 0).any() for g in found), f"group {i} gets none")
    frozen = [name for name, p in recipe.named_parameters() if not p.requires_grad and p.grad is not None]
    require(not frozen, f"{', '.join(frozen[:3])} is frozen and gets one")


@rule("recipe")
def unknown_truth(component: Component) -> None:
    """A pixel whose true disparity is unknown (``valid`` is False) has no part in the loss, whatever stands there.

    Multiply errors by the mask, and replace the truth where it is unknown before anything is computed from it.
    """
    batch = _batch()
    other = {**batch, "disparity": torch.where(batch["valid"], batch["disparity"], 1e4)}
    one, two = (_recipe(component)(b)["loss"].item() for b in (batch, other))
    require(one == two, f"the loss went from {one:.6g} to {two:.6g}")


@rule("recipe")
def alpha_cap(component: Component) -> None:
    """The cap of the fusion's learned weight is in [0, 1] after any number of steps.

    Correct ``alpha_cap``.
    """
    recipe = _recipe(component)
    for done in (0, 1, 1000, 10**7):
        found = recipe.alpha_cap(done)
        require(0 <= found <= 1, f"it is {found} after {done} steps")


@rule("recipe")
def descends(component: Component) -> None:
    """A few steps down the gradient lower the loss of the batch they are taken on.

    Look at the sign of the loss, and at what the groups leave out.
    """
    recipe, batch = _recipe(component), _batch()
    groups = [{**group, "lr": RATE} for group in recipe.parameter_groups()]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.options.weight_decay, eps=recipe.options.eps)
    seen = []
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = recipe({**batch, "step": step})["loss"]
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    require(seen[-1] < seen[0], f"the loss went from {seen[0]:.4g} to {seen[-1]:.4g} in {STEPS} steps")


def _models() -> list[Combination]:
    """A tiny model without a fusion, and one whose fusion has parameters if there is one."""
    return [model for model in (plain_model(), fused_model()) if model is not None]


def _recipe(component: Component, model: Combination | None = None) -> Recipe:
    """The recipe in training mode, on fresh weights; a teacher, where it has one, takes twice the iterations."""
    model = model or _models()[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [model.build(fresh=True)]
        if component.entry.load().teacher:
            made.append(model.build())
    for n, one in enumerate(made, 1):
        one.settings = one.settings.model_copy(update={"iterations": n * ITERATIONS, "schedule_steps": 2 * ITERATIONS})
    return component.make(*made).train()


def _batch() -> dict[str, Any]:
    """Two random samples, a third of their truth unknown."""
    random = np.random.default_rng(0)

    def view() -> np.ndarray:
        return random.random((3, *SIZE), np.float32)

    def mask(share: float) -> np.ndarray:
        return random.random((1, *SIZE)) < share

    samples = [
        Sample(view(), view(), polarity, 10 * view()[:1], mask(0.67), mask(0.8), mask(0.2), name="random")
        for polarity in (1.0, -1.0)
    ]
    return {**collate(samples), "step": 0}
