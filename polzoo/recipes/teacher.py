"""The frozen model that a recipe learns from: loaded by its name, known by the hash of its weights."""

from __future__ import annotations

from polzoo import checkpoint
from polzoo.config import read_config
from polzoo.errors import PolzooError
from polzoo.model import StereoModel
from polzoo.recipes.config import Init, TrainingConfig
from polzoo.registry import registry
from polzoo.spec import parse, parse_part


def pinned(config: TrainingConfig) -> TrainingConfig:
    """The config with the hash of its teacher's weights, so that a run is not resumed with another one; and without an
    ``init`` of its own it starts from its teacher, where the two are one architecture.

    Raises:
        PolzooError: a teacher where the recipe takes none or the other way round, or weights that have changed.
    """
    name = parse_part("recipe", config.recipe).name
    taught = getattr(registry().get("recipe", name).load(), "teacher", False)
    if taught and config.teacher is None:
        raise PolzooError(f"the recipe {name!r} learns from another model: set teacher to a checkpoint's name")
    if config.teacher is None:
        return config
    if not taught:
        raise PolzooError(f"the recipe {name!r} takes no teacher; leave out teacher = {config.teacher!r}")
    teacher = read_config(checkpoint.resolve(config.teacher))
    found, wanted = str(teacher.weights_sha256), config.teacher_sha256
    if wanted not in (None, found):
        raise PolzooError(f"the teacher {config.teacher!r} has weights {found[:12]}…, not {str(wanted)[:12]}…")
    mine, theirs = parse(config.model), teacher.spec()
    alike = (mine.backbone, mine.fusion) == (theirs.backbone, theirs.fusion)
    start = Init.model_validate({"from": config.teacher}) if alike and config.init is None else config.init
    return config.model_copy(update={"teacher_sha256": found, "init": start})


def load_teacher(config: TrainingConfig) -> list[StereoModel]:
    """The model that a config names as its teacher, frozen and in eval mode; none if it names none."""
    return (
        []
        if config.teacher is None
        else [checkpoint.load_folder(checkpoint.resolve(config.teacher)).requires_grad_(False)]
    )
