"""A model to be measured: a checkpoint, or a spec with fresh weights, and which of the two it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from polzoo.cards import list_models
from polzoo.errors import PolzooError, unknown
from polzoo.registry import registry

if TYPE_CHECKING:
    from polzoo.model import StereoModel


class Subject(NamedTuple):
    """A trainable model in eval mode, on the CPU, and what its weights are: a checkpoint's hash, or random ones."""

    name: str
    model: StereoModel
    weights: str


def open_subject(text: str, seed: int = 0) -> Subject:
    """The checkpoint of that name, else the model that the spec names, with fresh weights of ``seed``.

    Raises:
        PolzooError: neither a checkpoint nor a spec, or one that cannot be loaded or built.
    """
    return _checkpoint(text) if is_checkpoint(text) else _fresh(text, seed)


def is_checkpoint(text: str) -> bool:
    """Whether a text names a checkpoint rather than a spec; a PolzooError if it can be neither."""
    models, zoo = list_models(), registry()
    if text in models or text.startswith(("dir:", "hf:")):
        return True
    if set("+(=") & set(text) or zoo.find("backbone", text):
        return False
    if "/" in text:
        return True
    backbones = [entry.key for entry in zoo.entries("backbone")]
    raise PolzooError(f"{unknown('checkpoint or backbone', text, [*models, *backbones])}{zoo.hint(text)}")


def _checkpoint(text: str) -> Subject:
    import polzoo
    from polzoo.config import read_config
    from polzoo.names import resolve

    return Subject(text, polzoo.load(text), f"sha256 {read_config(resolve(text)).weights_sha256}")


def _fresh(text: str, seed: int) -> Subject:
    import torch

    import polzoo

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = polzoo.build(text).eval()
    return Subject(text, model, f"random weights, seed {seed}")
