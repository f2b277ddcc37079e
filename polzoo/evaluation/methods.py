"""What is evaluated: checkpoints, specs with fresh weights, and baselines, all as one callable from a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polzoo import cards
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError, shorten, unknown
from polzoo.registry import registry
from polzoo.settings import maps_of
from polzoo.spec import format_part, parse, parse_part
from polzoo.zoo import instantiate

if TYPE_CHECKING:
    from polzoo.evaluation.subject import Subject

FloatMap = NDArray[np.float32]


class Prediction(NamedTuple):
    """What a method makes of a pair.

    Attributes:
        disparity: (H, W) float32, pixels; NaN where it has no estimate.
        sequence: the disparity after each iteration, the last one included; empty for a method without iterations.
        gate: (H, W) how far polarization was let in, NaN where it is not known; None for a method that has no gate.
    """

    disparity: FloatMap
    sequence: tuple[FloatMap, ...] = ()
    gate: FloatMap | None = None


@dataclass(frozen=True)
class Method:
    """Something that turns a pair into a disparity. ``kind``: checkpoint, baseline or untrained (a spec)."""

    name: str
    kind: str
    spec: str
    run: Callable[[Sample], Prediction]
    iterations: int | None = None
    sha256: str | None = None

    def about(self) -> dict[str, Any]:
        """What a result notes of it; ``sha256`` is that of a checkpoint's weights."""
        return {key: getattr(self, key) for key in ("name", "kind", "spec", "iterations", "sha256")}


def open_methods(names: Sequence[str], iterations: int | None = None, device: str = "cpu") -> list[Method]:
    """The methods of these names.

    Raises:
        PolzooError: none, one that is named twice, or one that cannot be loaded or made.
    """
    if not names:
        raise PolzooError("name at least one method: a checkpoint, a spec or a baseline such as 'sgbm-filled'")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise PolzooError(f"{shorten(name)!r} is named twice; name every method once")
    return [_method(name, iterations, device) for name in names]


def _method(text: str, iterations: int | None, device: str) -> Method:
    """A checkpoint if there is one of that name, else a baseline, else a spec."""
    models, zoo = cards.list_models(), registry()
    name = text.partition("(")[0].strip().removeprefix("baseline=").strip()
    if text not in models and zoo.find("baseline", name):
        return _baseline(text)
    if text not in models and not text.startswith(("dir:", "hf:")) and ("/" not in text or "(" in text):
        try:
            parse(text)
        except PolzooError:
            if set("+(") & set(text):
                raise
            known = [entry.key for kind in ("baseline", "backbone") for entry in zoo.entries(kind)]
            raise unknown("checkpoint, baseline or backbone", text, [*models, *known]) from None
    return _model(text, iterations, device)


def _baseline(text: str) -> Method:
    part = parse_part("baseline", text)
    match = instantiate("baseline", part)

    def run(sample: Sample) -> Prediction:
        return Prediction(match(sample.left, sample.right))

    return Method(text, "baseline", format_part("baseline", part), run)


def _model(text: str, iterations: int | None, device: str) -> Method:
    from polzoo.config import read_config
    from polzoo.evaluation.subject import is_checkpoint, open_subject
    from polzoo.names import resolve
    from polzoo.predict import as_iterations
    from polzoo.weights import place

    subject = open_subject(text)
    place(subject.model, device, None)
    steps = as_iterations(iterations) or subject.model.settings.iterations
    sha256 = read_config(resolve(text)).weights_sha256 if is_checkpoint(text) else None
    kind = "untrained" if sha256 is None else "checkpoint"
    return Method(text, kind, str(subject.model.spec), lambda sample: _predict(subject, sample, steps), steps, sha256)


def _predict(subject: Subject, sample: Sample, iterations: int) -> Prediction:
    """Run a model as a recorder watches its fusion."""
    import torch

    from polzoo.predict import as_inputs, evaluating
    from polzoo.visualize import on_view

    model, gate = subject.model, Gate()
    views = (view.transpose(1, 2, 0) for view in (sample.left, sample.right))
    maps = {name: sample.polarization[name] for name in maps_of(model.fusion.needs) if name in sample.polarization}
    given = {"polarity": sample.polarity, "polarization": maps, "iterations": iterations}
    pair = as_inputs(model, *views, **given)
    for name in ("intensity_left", "intensity_right"):
        view = getattr(sample, name)
        if view is not None:
            pair.call[name] = torch.from_numpy(np.ascontiguousarray(view))[None].to(pair.left)
    with evaluating(model):
        prepared = model.prepare(pair.left, pair.right, recorder=gate, **pair.call)
        output = model.refine(prepared, all_iterations=True)
    sequence = tuple(one[0, 0].float().cpu().numpy() for one in output.sequence)
    seen = None if gate.value is None else on_view(gate.value, sample.left.shape[1:], prepared.crop)
    return Prediction(sequence[-1], sequence, seen)


class Gate:
    """A recorder that keeps the last ``gate`` of the loop, or the one outside it: mean over channels, (h, w).

    A sparse execution gives a gate at some cells; the others keep theirs from the iteration before.
    """

    def __init__(self) -> None:
        self.inside: FloatMap | None = None
        self.outside: FloatMap | None = None

    @property
    def value(self) -> FloatMap | None:
        return self.outside if self.inside is None else self.inside

    def record(self, step: Any, name: str, value: Any) -> None:
        if name != "gate" or getattr(value, "ndim", 0) != 4 or value.shape[-1] == 1:  # rows of sites, one per channel
            return
        found = value[0].float().mean(0).cpu().numpy()
        if step is None:
            self.outside = found
        else:
            self.inside = found if self.inside is None else np.where(np.isnan(found), self.inside, found)
