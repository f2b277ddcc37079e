"""The loop: a backbone encodes and correlates, a fusion may step in at five places, an operator refines N times."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.errors import PolzooError, unknown
from polzoo.fuse import fused
from polzoo.interfaces import (
    Backbone,
    Call,
    Cell,
    Encoding,
    Fusion,
    Memory,
    Pair,
    Recorder,
    State,
    StereoOutput,
    Trace,
    UpdateOperator,
    Volume,
)
from polzoo.precision import at_least_float32
from polzoo.settings import POLARITY, Settings, maps_of
from polzoo.spec import ModelSpec


@dataclass(frozen=True)
class Prepared:
    """Everything above the loops: made once, refined as often as wanted, with the model's own cell or another."""

    call: Call
    encoding: Encoding
    pol: object
    volume: Volume
    first: Tensor
    start: tuple[tuple[Tensor, ...], Tensor]
    crop: tuple[int, int, int, int]


def _in_own_precision(method):
    """A half-precision model runs under autocast: disparities, costs and sums stay float32 whatever the weights are."""

    @functools.wraps(method)
    def run(self: StereoModel, *args, **kwargs):
        weight = next(self.parameters())
        if weight.dtype not in (torch.float16, torch.bfloat16):
            return method(self, *args, **kwargs)
        with torch.autocast(weight.device.type, weight.dtype):
            return method(self, *args, **kwargs)

    return run


class StereoModel(nn.Module):
    """A backbone, a fusion and an update operator, combined.

    ``update`` is the cell (the trained recurrent part); ``operator`` executes it and holds no tensors.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backbone: Backbone,
        fusion: Fusion,
        cell: Cell,
        operator: UpdateOperator,
        settings: Settings,
    ) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.backbone, self.fusion, self.update, self.operator = backbone, fusion, cell, operator

    def forward(
        self, left: Tensor, right: Tensor, *, all_iterations: bool = False, trace: bool = False, **call
    ) -> StereoOutput:
        """Disparity of the left view.

        Args:
            left, right: (B, 3, H, W) float in [0, 1], rectified, any size.
            all_iterations: also return the full-size disparity after each iteration.
            trace: also return (Δ, disparity, hidden) of each iteration on the feature grid.
            call: see :meth:`prepare`.
        """
        return self.refine(self.prepare(left, right, **call), all_iterations=all_iterations, trace=trace)

    @_in_own_precision
    def prepare(
        self,
        left: Tensor,
        right: Tensor,
        *,
        polarization: dict[str, Tensor] | None = None,
        polarity: Tensor | float | None = None,
        intensity_left: Tensor | None = None,
        intensity_right: Tensor | None = None,
        iterations: int | None = None,
        initial_disparity: Tensor | None = None,
        state: State | None = None,
        alpha_cap: float | None = None,
        recorder: Recorder | None = None,
    ) -> Prepared:
        """Encode, fuse and correlate a pair.

        Args:
            polarization: named (B, C, H, W) maps per view, for a fusion that declares them.
            polarity: (B,) +1 left is parallel, −1 crossed, 0 no analysers; default from the model's settings.
            intensity_left, intensity_right: what polarization is read from instead of the images.
            iterations: per pass; default from the settings.
            initial_disparity: (B, 1, h, w) on the padded feature grid, feature pixels, positive; replaces the first.
            state: ``output.state`` of the previous frame.
            alpha_cap: cap of the fusion's learned weight in [0, 1]; default from the settings.
            recorder: receives what fusion and cell record.

        Raises:
            PolzooError: sizes, channels or value types that do not fit, maps missing that the fusion declares.
        """
        views = {"left": left, "right": right, "intensity_left": intensity_left, "intensity_right": intensity_right}
        views = {name: view for name, view in views.items() if view is not None}
        pad = self.padding(views)
        maps = self._maps(polarization or {}, left, pad)
        if torch.compiler.is_compiling() or any(pad):  # a graph for every size pads, if by 0
            views = {name: F.pad(view, pad, mode="replicate") for name, view in views.items()}
        left, right = views["left"], views["right"]
        seen_left, seen_right = views.get("intensity_left", left), views.get("intensity_right", right)
        pair = Pair(left, right, self._polarity(polarity, left), seen_left, seen_right, maps)
        n = self.settings.iterations if iterations is None else iterations
        if not isinstance(n, int) or n < 1:
            raise PolzooError(f"iterations must be a whole number, 1 or more, not {n}")
        cap = self.settings.alpha_cap if alpha_cap is None else alpha_cap
        if not 0 <= cap <= 1:
            raise PolzooError(f"alpha_cap must be in [0, 1], not {cap}")
        call = Call(pair, n, self.settings.schedule_steps or n, cap, self.fusion.schedule or "aligned", recorder)

        encoding = self.backbone.encode(pair)
        pol = self.fusion.encode(call, encoding)
        encoding = self.fusion.fuse_features(encoding, pol, call)
        volume = self.fusion.modulate_volume(self.backbone.correlate(encoding), pol, call)
        volume, first = self.backbone.regularise(volume, encoding)
        hidden, disparity = encoding.hidden, first if initial_disparity is None else initial_disparity
        if state is not None:
            hidden, disparity = state.hidden, state.disparity
        given, wanted = ([tuple(x.shape) for x in xs] for xs in ((disparity, *hidden), (first, *encoding.hidden)))
        if given != wanted:
            raise PolzooError(f"a warm start for this pair has shapes {wanted}, not {given}")
        return Prepared(call, encoding, pol, volume, first, (hidden, disparity), pad)

    @_in_own_precision
    def refine(
        self, prepared: Prepared, cell: Cell | None = None, *, all_iterations: bool = False, trace: int = False
    ) -> StereoOutput:
        """Run the loops on a prepared pair, with this model's cell or a given one.

        ``trace=n`` also returns (Δ, disparity, hidden) of every n-th iteration of a pass, and keeps no other; True: of
        each.
        """
        cell, call = self.update if cell is None else cell, prepared.call
        encoding, pol, volume = prepared.encoding, prepared.pol, prepared.volume
        (hidden, disparity), sequence, traces = prepared.start, [], []
        memory = Memory(call.pair, traced=bool(trace))
        for p in range(self.fusion.passes):
            context = self.fusion.inject_context(encoding, pol, disparity if p else None, call)
            context = self.operator.prepare(cell, context)
            for step in call.steps(p, memory):
                disparity = disparity.detach()
                at = self.operator.sites(cell, encoding, disparity, step)
                wide = at.grow(None if self.fusion.reach is None else cell.lookup_reach)
                cost = self.fusion.modulate_lookup(volume.lookup(disparity, wide), pol, disparity, step, wide)
                hidden, delta = self.operator(cell, hidden, context, cost, disparity, at)
                disparity = disparity + at_least_float32(delta)
                if all_iterations:
                    sequence.append(self._upsample(disparity, hidden, cell, prepared))
                if trace and (step.index + 1) % trace == 0:
                    traces.append(Trace(delta, disparity, hidden))
        full = sequence[-1] if sequence else self._upsample(disparity, hidden, cell, prepared)
        return StereoOutput(full, prepared.first, State(disparity, hidden, at), tuple(sequence), tuple(traces))

    def with_operator(self, spec: ModelSpec, operator: UpdateOperator) -> StereoModel:
        """The same weights under another execution; shares the modules."""
        return StereoModel(spec, self.backbone, self.fusion, self.update, operator, self.settings).train(self.training)

    def fuse(self) -> StereoModel:
        """A copy for inference, see :func:`polzoo.fuse.fused`."""
        return fused(self)  # pyright: ignore[reportReturnType]

    def predict(self, left, right, **call):
        """Disparity of a pair for people: paths, PIL images or arrays in, (H, W) float32 numpy out.

        Takes ``polarity``, ``polarization``, ``iterations`` and ``previous``; see :func:`polzoo.predict.predict`.
        """
        from polzoo.predict import predict

        return predict(self, left, right, **call)

    def _upsample(self, disparity: Tensor, hidden: tuple[Tensor, ...], cell: Cell, prepared: Prepared) -> Tensor:
        full = at_least_float32(self.backbone.upsample(disparity, cell.mask(hidden), prepared.encoding))
        return F.pad(full, [-side for side in prepared.crop])

    def padding(self, views: dict[str, Tensor]) -> tuple[int, int, int, int]:
        """Pixels to add (left, right, top, bottom) up to the backbone's multiple, split evenly as RAFT-Stereo does.

        Raises:
            PolzooError: a view that is no float (B, 3, H, W), an empty one, or views of different shapes.
        """
        shape = views["left"].shape
        for name, view in views.items():
            if view.ndim != 4 or view.shape[1] != 3 or not view.is_floating_point():
                raise PolzooError(
                    f"{name} must be a float tensor (B, 3, H, W) in [0, 1], not {view.dtype} {tuple(view.shape)}"
                )
            if view.shape != shape or not view.numel():
                raise PolzooError(
                    f"left {tuple(shape)} and {name} {tuple(view.shape)} must have the same shape, not empty"
                )
        high, wide = (-(-n // self.backbone.multiple) * self.backbone.multiple - n for n in shape[-2:])
        return wide // 2, wide - wide // 2, high // 2, high - high // 2

    def _maps(self, given: dict[str, Tensor], like: Tensor, pad: tuple[int, int, int, int]) -> dict[str, Tensor]:
        """The named maps, padded: all that the fusion declares, of the images' batch and size."""
        missing = [name for name in maps_of(self.fusion.needs) if name not in given]
        if missing:
            reads = f"the fusion {self.spec.fusion.name!r} reads {', '.join(missing)}, which the call does not give"
            raise PolzooError(f"{reads}: pass polarization={{name: map}} (see polzoo.data.polarization) or --mosaic")
        for name, values in given.items():
            if name not in maps_of(self.fusion.needs):
                raise unknown(f"map for the fusion {self.spec.fusion.name!r}", name, maps_of(self.fusion.needs))
            shape = (len(like), values.shape[1] if values.ndim == 4 else "C", *like.shape[-2:])
            if tuple(values.shape) != shape or not values.is_floating_point():
                found = f"{values.dtype} {tuple(values.shape)}"
                raise PolzooError(f"{name} must be a float tensor {shape}, of the images' batch and size, not {found}")
        return {name: F.pad(values, pad, mode="replicate") for name, values in given.items()}

    def _polarity(self, polarity: Tensor | float | None, like: Tensor) -> Tensor:
        value = POLARITY[self.settings.input.analysers] if polarity is None else polarity
        value = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
        if len(value) not in (1, len(like)):
            raise PolzooError(f"polarity has {len(value)} values for a batch of {len(like)}")
        readable = value.device.type == "cpu" and not torch.compiler.is_compiling()  # elsewhere it would wait
        if readable and any(abs(v) not in (0, 1) for v in value.tolist()):
            raise PolzooError(f"polarity must be +1, 0 or -1, not {value.tolist()}")
        return value.to(like.device).expand(len(like))
