"""Where in a model time, operations and memory go: by the methods that ``interfaces.py`` names, and their modules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from polzoo.evaluation.benchmark_timing import synchronise
from polzoo.interfaces import Fusion
from polzoo.memory import LivePeak
from polzoo.model import StereoModel

Trail = tuple[str, ...]
"""A part by what it is inside: ``("backbone.encode", "fnet")``."""

BACKBONE = ("encode", "correlate", "regularise", "upsample")
FUSION = ("encode", "fuse_features", "modulate_volume", "inject_context", "modulate_lookup")
CELL = ("prepare", "motion", "update", "head", "mask")


class Meter(Protocol):
    """Measures what happens between ``enter`` and ``leave``; ``join`` makes one figure of two stays in a part."""

    def enter(self) -> Any: ...

    def leave(self, entered: Any) -> Any: ...

    def join(self, one: Any, other: Any) -> Any: ...


class Clock:
    """Milliseconds (wall, CPU) of a part."""

    def __init__(self, device: str) -> None:
        self.device = device

    def enter(self) -> tuple[float, float]:
        synchronise(self.device)
        return time.perf_counter(), time.process_time()

    def leave(self, entered: tuple[float, float]) -> tuple[float, float]:
        synchronise(self.device)
        return 1000 * (time.perf_counter() - entered[0]), 1000 * (time.process_time() - entered[1])

    def join(self, one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
        return one[0] + other[0], one[1] + other[1]


class Operations:
    """Floating-point operations of a part: 2 per multiply-add of a convolution, matrix product or attention."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.counter = counter

    def enter(self) -> int:
        return self.counter.get_total_flops()

    def leave(self, entered: int) -> int:
        return self.counter.get_total_flops() - entered

    def join(self, one: int, other: int) -> int:
        return one + other


class Peak:
    """Most live bytes while a part ran, whoever made them."""

    def __init__(self, counter: LivePeak) -> None:
        self.counter = counter

    def enter(self) -> int:
        before, self.counter.most = self.counter.most, self.counter.live
        return before

    def leave(self, entered: int) -> int:
        most, self.counter.most = self.counter.most, max(self.counter.most, entered)
        return most

    def join(self, one: int, other: int) -> int:
        return max(one, other)


def _product(image: Any, _weight: Any, _bias: Any, _pad: Any, _stride: Any, _dilation: Any, groups: int, *_, out_shape):
    return 2 * prod(out_shape) * image[1] // groups


def _added_product(_out: Any, *given: Any, out_shape: Any) -> int:
    return _product(*given, out_shape=out_shape)


def _row_products() -> dict[Any, Callable[..., int]]:
    """Operations of sparse operators' products (1×1 convolutions of oneDNN), which torch's counter does not know."""
    known = {"_convolution_pointwise": _product, "_convolution_pointwise_": _added_product}
    return {getattr(torch.ops.mkldnn, name): count for name, count in known.items() if hasattr(torch.ops.mkldnn, name)}


def operations(run: Callable[[], object], model: StereoModel | None = None) -> tuple[int, dict[Trail, int]]:
    """Floating-point operations of ``run()``, and of each part of ``model`` in it."""
    counter = FlopCounterMode(display=False, custom_mapping=_row_products())
    with torch.no_grad(), counter, watched(model, Operations(counter)) as parts:
        run()
    return counter.get_total_flops(), parts


@contextmanager
def watched(model: StereoModel | None, meter: Meter) -> Iterator[dict[Trail, Any]]:
    """While this lasts, what each part of ``model`` takes is gathered by its path: ``("backbone.encode", "fnet")``.

    The methods of backbone, fusion, cell and operator stand on top, what they call of these and of the modules of
    backbone and fusion below. Afterwards the model is as before, so a run that nobody watches pays nothing.
    """
    found: dict[Trail, Any] = {}
    stack: list[str] = []

    def timed(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            stack.append(name(*args))
            path, entered = tuple(stack), meter.enter()
            try:
                return function(*args, **kwargs)
            finally:
                value = meter.leave(entered)
                found[path] = meter.join(found[path], value) if path in found else value
                stack.pop()

        return call

    places = list(_places(model)) if model is not None else []
    for owner, attribute, name in places:
        setattr(owner, attribute, timed(getattr(owner, attribute), name))
    if model is not None:
        model.backbone.regularise = _looked_up(model.backbone.regularise, timed)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield found
    finally:
        for owner, attribute, _ in places:
            owner.__dict__.pop(attribute, None)


def _places(model: StereoModel) -> Iterator[tuple[nn.Module, str, Callable[..., str]]]:
    """Every method that is watched: its owner, its name, and what to call a call of it."""
    owners = {"backbone": (model.backbone, BACKBONE), "fusion": (model.fusion, own_hooks(model.fusion))}
    for kind, (owner, methods) in owners.items():
        for method in methods:
            yield owner, method, _always(f"{kind}.{method}")
        for name, module in _children(owner):
            yield module, "forward", _always(name)
    for method in CELL:
        yield model.update, method, _level if method == "update" else _always(f"cell.{method}")
    yield model.operator, "sites", _always("operator.sites")
    yield model.operator, "forward", _always("operator")


def own_hooks(fusion: Fusion) -> list[str]:
    """The hooks that a strategy steps in at; the others are the identity."""
    return [hook for hook in FUSION if getattr(type(fusion), hook) is not getattr(Fusion, hook)]


def _children(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules directly in a module; those in a list by their place."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield from _children(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _always(name: str) -> Callable[..., str]:
    return lambda *_: name


def _level(index: int, *_: Any) -> str:
    return f"cell.update[{index}]"


def _looked_up(regularise: Callable[..., Any], timed: Callable[..., Any]) -> Callable[..., Any]:
    """``regularise`` whose volume is watched when it is looked up."""

    def call(*args: Any, **kwargs: Any) -> Any:
        volume, first = regularise(*args, **kwargs)
        return _Watched(volume, timed(volume.lookup, _always("volume.lookup"))), first

    return call


class _Watched:
    """A volume with another ``lookup``; everything else is the volume's own."""

    def __init__(self, volume: Any, lookup: Callable[..., Any]) -> None:
        self._volume, self.lookup = volume, lookup

    def __getattr__(self, name: str) -> Any:
        return getattr(self._volume, name)
