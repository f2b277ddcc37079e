"""What holds of a data set: samples that are what ``polzoo.data.sample`` says, the same on every machine."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from polzoo.data.sample import Sample
from polzoo.data.warp import grey, warp
from polzoo.settings import POLARITY
from polzoo.testing.contract import require, rule, skip
from polzoo.testing.subjects import Component

FEW = 4
MASKS, VIEWS = ("valid", "visible", "outside", "glass"), ("left", "right", "intensity_left", "intensity_right")


@rule("dataset")
def length(component: Component) -> None:
    """It has one sample or more, found at 0 … len − 1, and raises IndexError at len, where a Python loop ends.

    Look at ``__len__`` and at the first line of ``__getitem__``.
    """
    dataset = _dataset(component)
    require(len(dataset) >= 1, "it is empty")
    _ = dataset[len(dataset) - 1]
    try:
        dataset[len(dataset)]
    except IndexError:
        return
    require(False, f"index {len(dataset)} of {len(dataset)} gave a sample")


@rule("dataset")
def samples(component: Component) -> None:
    """A sample has views (3, H, W) float32 in [0, 1], a polarity of +1, 0 or −1, a finite disparity (1, H, W) float32
    and masks (1, H, W) bool; what is not known is None.

    Look at polzoo.data.sample.Sample, which says what each field means.
    """
    for index in _few(component):
        sample = _dataset(component)[index]
        require(isinstance(sample, Sample), f"sample {index} is a {type(sample).__name__}")
        size = sample.left.shape[1:]
        for name in VIEWS:
            view = getattr(sample, name)
            if view is not None:
                _require_array(view, name, (3, *size), np.float32)
                low, high = float(view.min()), float(view.max())
                require(low >= 0 and high <= 1, f"{name} of sample {index} has values from {low:.4g} to {high:.4g}")
        require(sample.polarity in POLARITY.values(), f"the polarity of sample {index} is {sample.polarity}")
        if sample.disparity is not None:
            _require_array(sample.disparity, "disparity", (1, *size), np.float32)
        for name in MASKS:
            if getattr(sample, name) is not None:
                _require_array(getattr(sample, name), name, (1, *size), np.bool_)
        for name, values in sample.polarization.items():
            _require_array(values, name, (*values.shape[:-2][:1], *size), np.float32)
        if sample.objects is not None:
            _require_array(sample.objects, "objects", (1, *size), np.uint8)
        require(isinstance(sample.name, str), f"its name is {sample.name!r}")


@rule("dataset")
def repeats(component: Component) -> None:
    """An index gives the same sample again, from another instance, in any order, and from a copy that was pickled, as a
    loader's workers get it.

    Seed random numbers by the index alone, and keep nothing open or lazy that cannot be pickled.
    """
    one, other = _dataset(component), _dataset(component)
    copied = pickle.loads(pickle.dumps(one))
    few = _few(component)
    for index in reversed(few):
        _ = other[index]
    for index in few:
        sample = one[index]
        for what, again in (("again", one[index]), ("another instance's", other[index]), ("a copy's", copied[index])):
            different = [f.name for f in fields(Sample) if not _same(getattr(sample, f.name), getattr(again, f.name))]
            require(not different, f"sample {index}, {what}, has another {', '.join(different)}")


@rule("dataset")
def sign(component: Component) -> None:
    """Disparity is positive and left x matches right x − d: the right view, moved by the true disparity, looks more
    like the left one than moved the other way.

    Look for views that were exchanged, and for disparities of the other sign or in another unit.
    """
    dataset, right_way, wrong_way = _dataset(component), 0.0, 0.0
    for index in _few(component):
        sample = dataset[index]
        if sample.disparity is None:
            skip("its samples have no true disparity")
        known = np.ones_like(sample.disparity, bool) if sample.valid is None else sample.valid
        for mask, keep in ((sample.visible, True), (sample.glass, False)):
            known = known if mask is None else known & (mask == keep)
        left, right = grey(sample.left), grey(sample.right)
        forth, forth_in = warp(right, sample.disparity[0])
        back, back_in = warp(right, -sample.disparity[0])
        use = known[0] & forth_in & back_in
        right_way += float(np.abs(left - forth)[use].sum())
        wrong_way += float(np.abs(left - back)[use].sum())
    require(right_way < wrong_way, f"x − d is {right_way / max(wrong_way, 1e-9):.3g} times as far off as x + d")


def _dataset(component: Component):
    missing = [name for name, field in component.entry.options().model_fields.items() if field.is_required()]
    lost = [name for name in missing if name not in component.given]
    if lost:
        skip(f"it needs {', '.join(lost)}, which only its user knows: pass options={{'{lost[0]}': …}}")
    return component.make()


def _few(component: Component) -> list[int]:
    """Indices spread over the data set."""
    last = len(_dataset(component)) - 1
    return sorted({round(i * last / (FEW - 1)) for i in range(FEW)})


def _require_array(value: np.ndarray, name: str, shape: tuple[int, ...], kind: type) -> None:
    good = isinstance(value, np.ndarray) and value.shape == shape and value.dtype == kind
    found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
    require(good, f"{name} is {found} instead of {np.dtype(kind)} {shape}")
    require(np.isfinite(value).all(), f"{name} is not finite everywhere")


def _same(a: object, b: object) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a == b
