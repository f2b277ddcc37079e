"""What holds of a fusion, on every backbone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from polzoo.interfaces import Fusion, Step
from polzoo.model import Prepared, StereoModel
from polzoo.options import Options
from polzoo.settings import maps_of
from polzoo.testing.contract import require, rule, skip
from polzoo.testing.sites import some_sites
from polzoo.testing.subjects import ITERATIONS, Combination, apart
from polzoo.updates.sites import EVERYTHING

HOOKS = ("encode", "fuse_features", "modulate_volume", "inject_context", "modulate_lookup")
KNOWN_MAPS = ("stokes", "dolp", "aolp")


@rule("fusion")
def hooks(model: Combination) -> None:
    """Hooks take what ``polzoo.interfaces.Fusion`` says and nothing more: no ground truth, nothing from elsewhere.

    Compare the signature with the reference page (docs/interfaces.md).
    """
    for hook in HOOKS:
        found, wanted = (inspect.signature(getattr(kind, hook)) for kind in (type(model.model.fusion), Fusion))
        given, fits = list(found.parameters), len(found.parameters) == len(wanted.parameters)
        require(fits, f"{hook}({', '.join(given)}) should be {hook}({', '.join(wanted.parameters)})")


@rule("fusion")
def declared(model: Combination) -> None:
    """``passes`` is 1 or more, ``reach`` a number of pixels or None, ``needs`` "rgb", "pair" or known maps,
    ``schedule`` one that :func:`polzoo.settings.alpha` knows.

    Correct the class attribute.
    """
    fusion = model.model.fusion
    require(isinstance(fusion.passes, int) and fusion.passes >= 1, f"passes is {fusion.passes!r}")
    require(fusion.reach is None or (isinstance(fusion.reach, int) and fusion.reach >= 0), f"reach is {fusion.reach!r}")
    unknown = {name.rpartition("_")[0] for name in maps_of(fusion.needs)} - set(KNOWN_MAPS)
    require(not unknown, f"needs is {fusion.needs!r}; the maps there are: {', '.join(KNOWN_MAPS)}")
    require(fusion.schedule in (None, "aligned", "literal"), f"schedule is {fusion.schedule!r}")


@rule("fusion")
def lookup_dim(model: Combination) -> None:
    """``modulate_lookup`` returns ``lookup_dim()`` channels, which is what the update cell is built for.

    Correct ``lookup_dim``.
    """
    bench = _Bench(model.model, model.inputs(2))
    found, wanted = bench.cost(EVERYTHING).shape[1], model.model.fusion.lookup_dim()
    require(found == wanted, f"lookup_dim() is {wanted} and the cost has {found}")


@rule("fusion")
def identity_at_start(model: Combination) -> None:
    """A fusion that claims ``identity_at_start`` gives, with fresh weights, exactly what its backbone gives alone at
    ``passes`` times the iterations.

    Initialise the last layer of what is added with zeros, or do not claim it.
    """
    fused = model.build(fresh=True)
    if not fused.fusion.identity_at_start:
        skip("it does not claim identity_at_start")
    _require_same_cost(fused)
    inputs, n = model.inputs(3), ITERATIONS
    own = model(fused, **inputs, iterations=n, all_iterations=True)
    plain = {name: value for name, value in inputs.items() if name != "polarization"}  # maps that no fusion asks for
    bare = model(_unfused(fused), **plain, iterations=n * fused.fusion.passes, all_iterations=True)
    for i, (a, b) in enumerate(zip(own.sequence, bare.sequence, strict=True), 1):
        require(torch.equal(a, b), f"iteration {i} of {len(own.sequence)} differs by {apart(a, b):.2g} px")


@rule("fusion")
def does_something(model: Combination) -> None:
    """With weights that are not zero, the fusion changes the disparity.

    Look for a hook whose result is not returned, or whose name is not one of the five.
    """
    if type(model.model.fusion) is Fusion:
        skip("it is the fusion that does nothing")
    if model.model.fusion.lookup_dim() != len(model.model.fusion.host.lookup):
        skip("its cell reads another number of channels, so there is no un-fused model to compare with")
    plain = {name: value for name, value in model.inputs(3).items() if name != "polarization"}
    iterations = ITERATIONS * model.model.fusion.passes
    bare = model(_unfused(model.model), **plain, iterations=iterations).disparity
    require(not torch.equal(bare, model.run.disparity), "the disparity is that of the un-fused model")


@rule("fusion")
def exact_gradients(model: Combination) -> None:
    """In float64, the gradient of every hook with respect to its input and the fusion's parameters is that of finite
    differences.

    Look for ``detach``, for in-place operations on what is needed again, and use ``polzoo.parts.at_least_float32``
    instead of ``.float()``, which ends double precision.
    """
    checked = 0
    bench = _Bench(model.build(dtype=torch.float64), _double(model.inputs(2, 32, 64)))
    for hook, function, inputs in bench.hooks():
        if getattr(type(bench.fusion), hook) is getattr(Fusion, hook):
            continue
        checked += 1
        try:
            gradcheck(function, inputs, fast_mode=True, atol=1e-6, rtol=1e-4, nondet_tol=1e-12)
        except GradcheckError as error:
            raise AssertionError(f"{hook} has another: {' '.join(str(error).split())[:300]}") from error
    if not checked:
        skip("it overrides no hook that changes anything")


@rule("fusion")
def reach(model: Combination) -> None:
    """At a set of pixels ``modulate_lookup`` gives what it gives everywhere, reading no further than ``reach``.

    Ask for what is read around a pixel by ``at.grow(self.reach)``, run networks by ``at.run``, take maps by
    ``at.take``; a fusion that needs whole maps has ``reach = None``.
    """
    fusion = model.model.fusion
    if fusion.reach is None:
        skip("its reach is None: it reads whole maps")
    bench = _Bench(model.build(dtype=torch.float64), _double(model.inputs(2)))
    at = some_sites(*bench.disparity[:, 0].shape)
    with torch.inference_mode():
        sparse, dense = bench.cost(at), at.take(bench.cost(EVERYTHING))
    require(sparse.shape == dense.shape, f"it returned {tuple(sparse.shape)} instead of {tuple(dense.shape)}")
    inside = at.mask.flatten(2).unsqueeze(2).expand_as(dense)
    sparse, dense = sparse[inside], dense[inside]
    beyond = torch.isnan(sparse).double().mean().item()
    require(not beyond, f"{100 * beyond:.3g} % of its costs read beyond the declared {fusion.reach} px")
    require(apart(sparse, dense) < 1e-9, f"its costs differ by {apart(sparse, dense):.2g}")


class _Bench:
    """A prepared pair and a disparity to call single hooks on."""

    def __init__(self, model: StereoModel, inputs: dict[str, Any]) -> None:
        self.model, self.fusion = model, model.fusion
        with torch.no_grad():
            self.prepared: Prepared = model.prepare(**inputs, iterations=3)
        like = self.prepared.first
        noise = torch.rand(like.shape, generator=torch.Generator().manual_seed(1), dtype=like.dtype)
        self.disparity = 5 * noise
        self.call = self.prepared.call
        self.step: Step = list(self.call.steps(0))[1]

    def cost(self, at: Any) -> Tensor:
        """What the update cell gets to read at these sites."""
        cost = self.prepared.volume.lookup(self.disparity, at)
        return self.fusion.modulate_lookup(cost, self.prepared.pol, self.disparity, self.step, at)

    def hooks(self) -> Iterator[tuple[str, Callable[..., Any], tuple[Tensor, ...]]]:
        """Name, function and differentiable inputs of hooks 2–5, each with what ``encode`` makes; the parameters are
        inputs too, which the functions read where they are."""
        encoding, fusion, call = self.prepared.encoding, self.fusion, self.call
        parameters = tuple(fusion.parameters())

        def features(left: Tensor, right: Tensor, *_: Tensor) -> Any:
            given = replace(encoding, matching=(left, right))
            return fusion.fuse_features(given, fusion.encode(call, given), call).matching

        def volume(left: Tensor, right: Tensor, *_: Tensor) -> Any:
            given = replace(encoding, matching=(left, right))
            made = fusion.modulate_volume(self.model.backbone.correlate(given), fusion.encode(call, given), call)
            return self.model.backbone.regularise(made, given)[0].lookup(self.disparity, EVERYTHING)

        def context(*inputs: Tensor) -> Any:
            given = replace(encoding, context=inputs[: len(encoding.context)])
            pol = fusion.encode(call, given)
            later = fusion.inject_context(given, pol, self.disparity, call) if fusion.passes > 1 else ()
            return (*fusion.inject_context(given, pol, None, call), *later)

        def lookup(cost: Tensor, *_: Tensor) -> Any:
            pol = fusion.encode(call, encoding)
            return fusion.modulate_lookup(cost, pol, self.disparity, self.step, EVERYTHING)

        matching = _leaves(encoding.matching)
        cost = _leaves([self.prepared.volume.lookup(self.disparity, EVERYTHING)])
        yield "fuse_features", features, (*matching, *parameters)
        yield "modulate_volume", volume, (*matching, *parameters)
        yield "inject_context", context, (*_leaves(encoding.context), *parameters)
        yield "modulate_lookup", lookup, (*cost, *parameters)


def _unfused(model: StereoModel) -> StereoModel:
    """The same modules without the fusion."""
    bare = Fusion(Options(), model.backbone.host)
    return StereoModel(model.spec, model.backbone, bare, model.update, model.operator, model.settings).eval()


def _require_same_cost(model: StereoModel) -> None:
    own, bare = model.fusion.lookup_dim(), len(model.backbone.host.lookup)
    require(own == bare, f"its cell reads {own} channels where the backbone alone has {bare}")


def _leaves(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(x.detach().clone().requires_grad_() for x in tensors)


def _double(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _double(value) if isinstance(value, dict) else value.double() if key != "polarity" else value
        for key, value in inputs.items()
    }
