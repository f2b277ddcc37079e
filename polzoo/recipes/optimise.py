"""What is trained, at which rate and in which mode: parameter groups, frozen parts, BatchNorm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from polzoo.errors import PolzooError
from polzoo.interfaces import Recipe
from polzoo.recipes.config import TrainingConfig
from polzoo.recipes.patterns import matching, require_each

BatchNorm = nn.modules.batchnorm._BatchNorm


def freeze(model: nn.Module, config: TrainingConfig) -> None:
    """Let the parameters of ``config.freeze`` go without gradients.

    Raises PolzooError for a pattern of ``freeze``, ``thaw`` or ``batchnorm`` that matches nothing, for one of ``thaw``
    that matches nothing that is ever trained, and where nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    require_each("freeze", config.freeze, parameters)
    require_each("thaw", config.thaw, parameters)
    require_each("batchnorm", config.batchnorm, (name for name, _ in _norms(model)))
    for name, parameter in parameters.items():
        if matching(name, config.freeze):
            parameter.requires_grad_(False)
    trained = [name for name, parameter in parameters.items() if parameter.requires_grad]
    if not trained:
        raise PolzooError(f"freeze = {list(config.freeze)} leaves nothing to train")
    for pattern in config.thaw:
        if not any(matching(name, [pattern]) for name in trained):
            parts = ", ".join(sorted({f"{name.partition('.')[0]}.*" for name in trained}))
            by = f"the recipe {config.recipe!r}" + (f" with freeze = {list(config.freeze)}" if config.freeze else "")
            raise PolzooError(f"thaw: {by} never trains {pattern!r}, only of {parts}; leave it out")


def optimiser(recipe: Recipe, config: TrainingConfig) -> tuple[AdamW, OneCycleLR]:
    """AdamW on what requires gradients, and a one-cycle schedule that peaks at each group's own rate (one scalar
    maximum would level them)."""
    found = recipe.parameter_groups()
    groups = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in found]
    groups = [group for group in groups if group["params"]]
    o = recipe.options
    each = False if config.sharded else None  # one call for all cannot take whole and split tensors together
    optimizer = AdamW(groups, weight_decay=o.weight_decay, eps=o.eps, foreach=each)
    peaks = [group["lr"] for group in groups]
    scheduler = OneCycleLR(
        optimizer, peaks, config.steps + 10, pct_start=config.warmup, anneal_strategy="linear", cycle_momentum=False
    )
    return optimizer, scheduler


def drop_frozen_gradients(model: nn.Module, config: TrainingConfig, done: int) -> None:
    """Before a step: what ``config.thaw`` does not let go yet gets no gradient, and so no weight decay either."""
    held = [pattern for pattern, share in config.thaw.items() if done < share * config.steps]
    if held:
        for name, parameter in model.named_parameters():
            if matching(name, held):
                parameter.grad = None


def set_modes(recipe: nn.Module, model: nn.Module, config: TrainingConfig, done: int) -> None:
    """Training mode, but for BatchNorm whose parameters are frozen after ``done`` steps, or that ``config.batchnorm``
    puts in eval mode: there it normalises by the running statistics and leaves them alone."""
    recipe.train()
    held = [pattern for pattern, share in config.thaw.items() if done < share * config.steps]
    for name, module in _norms(model):
        own = list(module.named_parameters(recurse=False))
        still = own and all(not p.requires_grad or matching(f"{name}.{key}", held) for key, p in own)
        said = [mode for pattern, mode in config.batchnorm.items() if matching(name, [pattern])]
        if still or (said and said[-1] == "eval"):
            module.eval()


def thawing(config: TrainingConfig, done: int) -> bool:
    """Whether something is let go right after ``done`` steps, so that modes have to be set again."""
    return any(done - 1 < share * config.steps <= done for share in config.thaw.values())


def _norms(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, BatchNorm))
