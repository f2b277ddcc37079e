"""From a config to the recipe that is trained: the model with the weights it starts from, and what it learns from."""

from __future__ import annotations

import os

import torch

from polzoo.data.loader import WithTruth
from polzoo.data.mixture import Mixture
from polzoo.errors import PolzooError, home
from polzoo.interfaces import Dataset, Recipe
from polzoo.recipes.config import Init, TrainingConfig
from polzoo.recipes.initialise import Start, start_from
from polzoo.recipes.optimise import freeze
from polzoo.recipes.teacher import load_teacher
from polzoo.registry import registry
from polzoo.settings import InputBlock, Settings
from polzoo.spec import parse_part
from polzoo.zoo import build, instantiate


def make_recipe(config: TrainingConfig, source: str | None) -> tuple[Recipe, Start | None]:
    """The recipe as its first step finds it, and where its tensors came from if there is a ``source``, a checkpoint.

    Raises PolzooError for parts that do not fit together and weights that do not fit the model.
    """
    torch.manual_seed(config.seed)
    model = build(config.model)
    model.settings = Settings(
        iterations=config.iterations, schedule_steps=config.iterations, input=InputBlock(needs=model.fusion.needs)
    )
    start = None if source is None else start_from(model, source, config.init or Init.model_validate({"from": source}))
    recipe: Recipe = instantiate("recipe", config.part(), model, *load_teacher(config))
    freeze(recipe.model, config)
    if not config.sharded:  # which takes contiguous tensors alone
        channels_last(recipe)
    return recipe, start


def channels_last(module: torch.nn.Module) -> None:
    """Lay out weights as convolutions are fastest with in training."""
    for inner in module.modules():
        if isinstance(inner, torch.nn.Conv2d):  # a 3-D convolution has no such layout
            inner.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def make_dataset(config: TrainingConfig) -> Dataset:
    """The data set of a config; without truth for a recipe that needs it, its pairs raise PolzooError.

    Raises PolzooError where the data is not there, saying what to put where.
    """
    recipe = registry().get("recipe", config.part().name).load()
    return WithTruth(_all(config)) if getattr(recipe, "needs_truth", True) else _all(config)


def _all(config: TrainingConfig) -> Dataset:
    if isinstance(config.data, str):
        return _open(config.data)
    texts, shares = zip(*map(_share, config.data), strict=True)
    parts = [_open(text) for text in texts]
    weighted = any(share is not None for share in shares)
    return Mixture(parts, [1.0 if share is None else share for share in shares] if weighted else None)


def _open(text: str) -> Dataset:
    """The data set of a spec text. A path alone, which `polzoo eval` takes, is refused: what a model was trained on
    stands in its checkpoint and its card, by the name of a data set."""
    if "(" not in text and os.path.exists(home(text)) and not registry().find("dataset", text):
        raise PolzooError(f"data = {text!r} names no data set; for the pairs that lie there: \"folder(path='{text}')\"")
    return instantiate("dataset", parse_part("dataset", text))


def _share(text: str) -> tuple[str, float | None]:
    """``"kitti15(root='x')*3"`` → the spec and 3; None where there is no share."""
    spec, star, share = text.rpartition("*")
    try:
        return (spec, float(share)) if star else (text, None)
    except ValueError:  # a star inside the options
        return text, None
