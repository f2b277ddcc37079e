"""From names to what they name: ``build`` a spec with fresh weights, ``load`` a checkpoint, make any one component."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from polzoo.cards import list_models
from polzoo.components import OURS, Entry, with_article
from polzoo.errors import PolzooError, one_line
from polzoo.registry import registry
from polzoo.settings import InputBlock, Settings
from polzoo.spec import ModelSpec, Part, parse, parse_part

if TYPE_CHECKING:
    import torch

    from polzoo.interfaces import Importance, UpdateOperator
    from polzoo.model import StereoModel

__all__ = ["build", "instantiate", "list_models", "load"]


def build(spec: str | ModelSpec, settings: Settings | None = None, *, fresh: bool = True) -> StereoModel:
    """A model with fresh weights.

    Args:
        spec: ``"raft+v2c"`` or a parsed :class:`ModelSpec`.
        settings: iterations and schedules; the defaults suit training.
        fresh: let the backbone fetch first weights, if its options ask for some; off where others will replace them.

    Raises:
        PolzooError: an unknown part or option, parts that do not fit together, first weights that cannot be fetched.
    """
    from polzoo.model import StereoModel

    spec = parse(spec) if isinstance(spec, str) else spec
    backbone = instantiate("backbone", spec.backbone)
    if fresh:
        backbone.initialise()
    fusion = instantiate("fusion", spec.fusion, backbone.host)
    cell = backbone.make_cell(fusion.lookup_dim())
    settings = settings or Settings(input=InputBlock(needs=fusion.needs))
    return StereoModel(spec, backbone, fusion, cell, make_operator(spec.update), settings)


def make_operator(part: Part) -> UpdateOperator:
    """The update operator that a part names; one with an option ``importance`` is given what that names."""
    named = getattr(part.options, "importance", None)
    return instantiate("update", part, *([] if named is None else [_importance(named)]))


def _importance(text: str) -> Importance:
    return instantiate("importance", parse_part("importance", text))


def load(
    name: str | os.PathLike[str],
    *,
    update: str | None = None,
    fuse: bool = False,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
) -> StereoModel:
    """A checkpoint's model in eval mode.

    Args:
        name: a published model, a path, ``dir:PATH``, ``org/name[@revision]`` or ``hf:…``; see
            :func:`polzoo.names.resolve`.
        update: another execution of the same weights, such as ``"flashgru(density=0.2)"``; without options they come
            from the checkpoint's execution block.
        fuse: return the inference copy, which is faster and can be neither trained nor saved.
        dtype: floating type of the weights; float32 unless given.

    Raises:
        PolzooError: no such checkpoint, or one that is not exactly as it was written.
    """
    from polzoo import checkpoint, weights
    from polzoo.names import find

    model = checkpoint.load_folder(find(name), update=update)
    if fuse:
        model = model.fuse()
    weights.place(model, device, dtype)
    return model


_BASES = {"backbone": "Backbone", "fusion": "Fusion", "update": "UpdateOperator", "recipe": "Recipe"}
_METHODS = {
    "importance": ("__call__",),
    "dataset": ("__len__", "__getitem__"),
    "metric": ("__call__",),
    "baseline": ("__call__",),
}


def instantiate(kind: str, part: Part, *rest: object) -> Any:
    """The component that a part names, made of its options and of whatever else its kind is given.

    Raises:
        PolzooError: it cannot be imported, is no component of this kind, or (a plugin's) fails when it is made;
            ``POLZOO_STRICT=1`` raises that failure itself.
    """
    zoo = registry()
    entry = zoo.get(kind, part.name)
    found = entry.load()
    _check(entry, found)
    try:
        return found(part.options, *rest)
    except PolzooError:
        raise
    except Exception as error:
        if zoo.strict or entry.distribution in ("", OURS):  # our own bugs, and a script's, keep their traceback
            raise
        raise PolzooError(f"{entry} cannot be made: {one_line(error)}") from error


def _check(entry: Entry, found: Any) -> None:
    """Refuse what is no class of its kind: a subclass of its base, or one that has its protocol's methods."""
    if entry.kind in _BASES:
        from polzoo import interfaces

        base = getattr(interfaces, _BASES[entry.kind])
        if not (isinstance(found, type) and issubclass(found, base)):
            raise PolzooError(f"{entry}: {entry.target!r} is not a subclass of polzoo.interfaces.{base.__name__}")
    elif not isinstance(found, type):
        raise PolzooError(f"{entry}: {entry.target!r} is not a class")
    for method in _METHODS.get(entry.kind, ()):
        if not any(method in vars(base) for base in found.__mro__):
            raise PolzooError(f"{entry}: {entry.target!r} has no {method}, which {with_article(entry.kind)} must have")
