"""Look inside a model: what its fusion let in at every step, where it attended, what became of the disparity.

A fusion hands its maps to a recorder (:class:`polzoo.interfaces.Recorder`); a model that runs without one does not pay
for it. T is the number of steps (passes × iterations), (h, w) the feature grid of the padded pair, (h', w') the pooled
grid that attention reads.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.fusions.polarization import contrast
from polzoo.interfaces import Pair, Step, Trace
from polzoo.model import Prepared, StereoModel
from polzoo.predict import as_inputs, evaluating

Floats = NDArray[np.floating]
Points = Sequence[tuple[int, int]]

BRIGHTEST = 3
"""Query points that are chosen where the views differ most, if none are given; the centre is one more."""

CHUNK = 1024
"""Queries whose attention is in memory at a time."""

_ATTENTION = ("query", "key", "mask")


class Records:
    """A recorder for one pair: of a map in the loop its mean over channels, everything else as it is.

    Attributes:
        steps: (pass, index) → name → (h, w); of ``residual`` the mean magnitude.
        outside: name → what was recorded first outside the iterations.
    """

    def __init__(self) -> None:
        self.steps: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.outside: dict[str, Tensor] = {}

    def record(self, step: Step | None, name: str, value: Any) -> None:
        if not isinstance(value, Tensor):  # a sparse execution records rows of sites, which are no map
            return
        if step is None:
            self.outside.setdefault(name, value)
        elif value.ndim == 4:
            value = value[0].float()
            mean = (value.abs() if name == "residual" else value).mean(0)
            self.steps.setdefault((step.p, step.index), {})[name] = mean


class Attention(NamedTuple):
    """How the cells of the left view attended; every map is a mean over heads and sums to 1.

    Attributes:
        points: (P, 2) x, y of the chosen queries, pixels of the left view.
        maps: (P, h', w') of these queries.
        mean: (h', w') over all queries.
    """

    points: NDArray[np.int64]
    maps: Floats
    mean: Floats


@dataclass(frozen=True)
class Explanation:
    """What happened inside a model on one pair.

    Attributes:
        disparity: (T, H, W) after each step, pixels.
        alpha: (T,) weight of polarization in each step; NaN for a fusion without a schedule.
        steps: name → (T, h, w): ``disparity`` and ``delta`` in pixels of the view, then what the fusion recorded, its
            mean over channels, NaN in a step that recorded nothing. ``residual`` is the mean over channels of
            |α · gate · residual|, as far as the fusion has the three: what is added to the costs.
        outside: name → (y, x), mean over channels, or () of what was recorded outside the iterations.
        attention: None for a fusion without.
        stride: pixels of a cell of the feature grid.
        crop: pixels of padding: left, right, top, bottom.
        shares: stage → share of the feature grid that the last step worked on, of an operator that leaves some out.
    """

    disparity: Floats
    alpha: Floats
    steps: dict[str, Floats]
    outside: dict[str, Floats]
    attention: Attention | None
    stride: int
    crop: tuple[int, int, int, int]
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def recorded(self) -> list[str]:
        """What the fusion recorded in the steps."""
        return [name for name in self.steps if name not in ("disparity", "delta")]

    def npz(self) -> bytes:
        """The bytes of a compressed NPZ.

        ``disparity`` (H, W), ``alpha`` (T,), ``steps.disparity``, ``steps.delta`` (T, h, w), ``attention.maps``
        (P, h', w') and ``attention.mean`` are float32, every other ``steps.NAME`` (T, h, w) and ``outside.NAME``
        float16, ``attention.points`` (P, 2), ``stride`` () and ``crop`` (4,) integers.
        """
        arrays: dict[str, Any] = {"disparity": self.disparity[-1], "alpha": self.alpha}
        arrays |= {"stride": np.array(self.stride), "crop": np.array(self.crop)}
        for name, maps in self.steps.items():
            arrays[f"steps.{name}"] = maps.astype(np.float16 if name in self.recorded else np.float32)
        for name, value in self.outside.items():
            arrays[f"outside.{name}"] = np.asarray(value, np.float16)
        if self.attention is not None:
            arrays |= {f"attention.{name}": value for name, value in self.attention._asdict().items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        return stream.getvalue()


def explain(
    model: StereoModel,
    left: Any,
    right: Any,
    *,
    polarity: float | str | None = None,
    iterations: int | None = None,
    points: Points = (),
) -> Explanation:
    """Run a model on a pair and keep what its fusion shows.

    Args:
        left, right, polarity, iterations: as :func:`polzoo.predict.predict` takes them.
        points: x, y pixels of the left view whose attention to show; by default three where the views differ most,
            and the centre.

    Raises:
        PolzooError: bad input, a point outside the view, or points for a fusion without attention.
    """
    pair = as_inputs(model, left, right, polarity=polarity, iterations=iterations)
    height, width = pair.left.shape[-2:]
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise PolzooError(f"the point {x},{y} is outside the left view, which is {width}×{height} pixels")
    records, stride = Records(), model.backbone.host.stride
    with evaluating(model):
        prepared = model.prepare(pair.left, pair.right, recorder=records, **pair.call)
        output = model.refine(prepared, all_iterations=True, trace=True)
        grid = output.state.disparity.shape[-2], output.state.disparity.shape[-1]
        attention = _attention(records.outside, prepared, grid, stride, points)
    if points and attention is None:
        raise PolzooError(f"the fusion {model.spec.fusion.name!r} has no attention, so a point has nothing to show")
    passes = [step for p in range(model.fusion.passes) for step in prepared.call.steps(p)]
    scheduled, shares = model.fusion.schedule is not None, getattr(model.operator, "shares", None)
    alpha = np.array([step.alpha if scheduled else np.nan for step in passes], np.float32)
    return Explanation(
        disparity=np.stack([one[0, 0].float().cpu().numpy() for one in output.sequence]),
        alpha=alpha,
        steps=_steps(records, passes, alpha, output.trace, stride),
        outside={name: _outside(value) for name, value in records.outside.items() if name not in _ATTENTION},
        attention=attention,
        stride=stride,
        crop=prepared.crop,
        shares=shares(output.state.sites, model.update, model.fusion.reach) if shares is not None else {},
    )


def _steps(
    records: Records, passes: list[Step], alpha: Floats, trace: Sequence[Trace], stride: int
) -> dict[str, Floats]:
    """Name → (T, h, w): the trace, then what was recorded."""
    maps = {
        "disparity": np.stack([stride * one.disparity[0, 0].float().cpu().numpy() for one in trace]),
        "delta": np.stack([stride * one.delta[0, 0].float().cpu().numpy() for one in trace]),
    }
    blank = np.full(maps["delta"].shape[1:], np.nan, np.float32)
    found = [records.steps.get((step.p, step.index), {}) for step in passes]
    for name in dict.fromkeys(name for one in found for name in one):
        maps[name] = np.stack([one[name].cpu().numpy() if name in one else blank for one in found])
    if "residual" in maps:
        weight = np.where(np.isnan(alpha), 1, alpha)[:, None, None]
        maps["residual"] = weight * maps.get("gate", np.float32(1)) * maps["residual"]
    return maps


def _outside(value: Tensor) -> Floats:
    """What was recorded outside the iterations, of the first sample: (y, x), or () of a number."""
    value = value.float()
    return (value[0].mean(0) if value.ndim == 4 else value.mean()).cpu().numpy()


def _attention(
    outside: dict[str, Tensor], prepared: Prepared, grid: tuple[int, int], stride: int, points: Points
) -> Attention | None:
    """Attention of the left view from the recorded ``query`` (B, heads, h·w, d), ``key`` (B, heads, h'·w', d) and, if
    some keys were left out, ``mask`` (B, 1, 1, h'·w')."""
    if not {"query", "key"} <= outside.keys():
        return None
    query, key = (outside[name][0].float() for name in ("query", "key"))
    keep = outside["mask"][0] if "mask" in outside else None
    pooled = _pooled(grid, key.shape[-2])
    if pooled is None or query.shape[-2] != grid[0] * grid[1]:
        return None

    def attend(rows: Tensor) -> Tensor:
        """(heads, P, d) queries → (P, h'·w')."""
        scores = rows @ key.transpose(-1, -2) / rows.shape[-1] ** 0.5
        return (scores if keep is None else scores.masked_fill(~keep, -torch.inf)).softmax(-1).mean(0)

    chosen = points or _telling(prepared.call.pair, prepared.crop)
    left, top = prepared.crop[0], prepared.crop[2]
    cells = [(y + top) // stride * grid[1] + (x + left) // stride for x, y in chosen]
    mean = torch.stack([attend(rows).sum(0) for rows in query.split(CHUNK, 1)]).sum(0) / query.shape[1]
    return Attention(
        np.array(chosen, np.int64),
        attend(query[:, cells]).unflatten(-1, pooled).cpu().numpy(),
        mean.unflatten(-1, pooled).cpu().numpy(),
    )


def _pooled(grid: tuple[int, int], keys: int) -> tuple[int, int] | None:
    """The (h', w') of so many keys that averaging n × n cells of the grid leaves, for some n."""
    sizes = ((max(1, grid[0] // n), max(1, grid[1] // n)) for n in range(1, max(grid) + 1))
    return next((size for size in sizes if size[0] * size[1] == keys), None)


def _telling(pair: Pair, crop: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Points of the left view, x, y: where polarization differs most, well apart, and the centre."""
    left, right, top, bottom = crop
    height, width = pair.left.shape[-2] - top - bottom, pair.left.shape[-1] - left - right
    smooth = F.avg_pool2d(contrast(pair), 9, 1, 4)[0, 0]  # a single bright pixel is noise
    bright = smooth[top : top + height, left : left + width].cpu().numpy().copy()
    apart, found = max(1, min(height, width) // 5), [(width // 2, height // 2)]
    for _ in range(BRIGHTEST):
        y, x = (int(n) for n in np.unravel_index(bright.argmax(), bright.shape))
        if bright[y, x] <= 0:
            break
        found.append((x, y))
        bright[max(0, y - apart) : y + apart + 1, max(0, x - apart) : x + apart + 1] = 0
    return found
