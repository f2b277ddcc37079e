"""How a model comes to rest: which pixels still move, iteration by iteration (what Pip-Stereo observes in its Fig. 1).

A pixel moves in an iteration if |Δ| exceeds a threshold τ in pixels of the full resolution. Δ lives on the feature
grid in feature pixels: a cell stands for stride × stride pixels and its Δ for stride · Δ pixels. Cells wholly inside
the padding do not count. Of the maps of moving cells of two consecutive iterations:

* *agreement* (the paper's hit ratio) is the share of cells whose flag is the same. It nears 1 as soon as little moves.
* *overlap* is intersection over union, which does not. Where nothing moves in either there is no union: such a pair of
  maps is left out and counted (``still``), and if that is so in every stereo pair the overlap is unknown (null).

All figures are sums over the cells of all stereo pairs, divided once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from polzoo import spec
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation.benchmark_result import Record, Run
from polzoo.evaluation.metrics import EPE
from polzoo.evaluation.regions import regions
from polzoo.evaluation.subject import Subject
from polzoo.interfaces import StereoOutput
from polzoo.model import StereoModel
from polzoo.predict import as_iterations, evaluating
from polzoo.weights import place

THRESHOLDS = (0.01, 0.05, 0.25)
SETTLED = 0.99

Floats = NDArray[np.floating]


class Curve(Record):
    """One threshold: shares per iteration in [0, 1]; agreement and overlap are None in the first, with none before it.

    ``settled`` is the first iteration from which on the agreement stays above 0.99, as the paper puts it; ``still``
    counts per iteration the stereo pairs in which nothing moved in it and the one before.
    """

    threshold: float
    moving: tuple[float, ...]
    agreement: tuple[float | None, ...]
    overlap: tuple[float | None, ...]
    still: tuple[int, ...]
    settled: int | None


class Analysis(Record):
    """A model on one stereo pair or many. ``iterations`` counts all steps, those of a second pass too; ``epe`` is in
    pixels after each of them, over all pixels whose truth is known, None without truth."""

    format: Literal[1] = 1
    what: Literal["analysis"] = "analysis"
    model: str
    spec: str
    weights: str
    data: str
    pairs: int
    stride: int
    passes: int
    iterations: int
    cells: int
    curves: tuple[Curve, ...]
    epe: tuple[float, ...] | None
    run: Run


class Movement:
    """Counts of cells per threshold and iteration, summed over stereo pairs."""

    def __init__(self, thresholds: Sequence[float]) -> None:
        self.thresholds, self.cells = tuple(thresholds), 0
        self._sums: dict[str, NDArray[np.int64]] = {}

    def add(self, steps: Floats) -> None:
        """Take in one stereo pair: (N, h, w) increments in pixels of the full resolution; NaN counts as moving."""
        moving = np.stack([~(np.abs(steps) <= threshold) for threshold in self.thresholds])
        before, after = moving[:, :-1], moving[:, 1:]
        both, either = _count(before & after), _count(before | after)
        found = {"moving": _count(moving), "same": _count(before == after), "both": both, "either": either}
        found["still"] = (either == 0).astype(np.int64)
        if self._sums and self._sums["moving"].shape != found["moving"].shape:
            raise PolzooError("the iterations of a model are the same number on every pair")
        self._sums = {name: value + self._sums.get(name, 0) for name, value in found.items()}
        self.cells += steps[0].size

    def curves(self) -> tuple[Curve, ...]:
        """The figures of every threshold."""
        return tuple(self._curve(i, threshold) for i, threshold in enumerate(self.thresholds))

    def _curve(self, i: int, threshold: float) -> Curve:
        moving, same, both, either, still = (self._sums[name][i].tolist() for name in self._sums)
        agreement = [n / self.cells for n in same]
        last_unsettled = max((k for k, value in enumerate(agreement) if value <= SETTLED), default=-1)
        return Curve(
            threshold=threshold,
            moving=tuple(n / self.cells for n in moving),
            agreement=(None, *agreement),
            overlap=(None, *(b / e if e else None for b, e in zip(both, either, strict=True))),
            still=(0, *still),
            settled=last_unsettled + 3 if last_unsettled + 1 < len(agreement) else None,
        )


def _count(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(T, N, h, w) → (T, N)."""
    return np.count_nonzero(flags, axis=(-2, -1)).astype(np.int64)


def analyze(
    subject: Subject,
    pairs: Iterable[Sample],
    *,
    data: str,
    thresholds: Sequence[float] = THRESHOLDS,
    iterations: int | None = None,
    device: str = "cpu",
    command: str = "",
) -> Analysis:
    """Run a model on stereo pairs and follow its steps.

    Args:
        data: what to call the pairs.
        thresholds: in pixels of the full resolution.
        iterations: per pass; the model's own where None.

    Raises:
        PolzooError: thresholds that make no sense, or a pair that the model cannot take.
    """
    movement, run = Movement(checked(thresholds)), Run.now(command, device, torch.get_num_threads())
    model = subject.model.fuse()
    place(model, device, None)
    stride, n = model.backbone.host.stride, as_iterations(iterations) or model.settings.iterations
    count, errors = 0, []
    for count, sample in enumerate(pairs, 1):  # noqa: B007
        output, crop = _run(model, sample, n, device)
        movement.add(steps(output, stride, crop))
        if sample.disparity is not None:
            errors.append(_errors(output, sample))
    if len(errors) not in (0, count) or not count:
        lack = (
            "there is no pair to analyze" if not count else f"only {len(errors)} of {count} pairs have true disparity"
        )
        raise PolzooError(f"{data}: {lack}")
    curves = movement.curves()
    return Analysis(
        model=subject.name,
        spec=spec.format(model.spec),
        weights=subject.weights,
        data=data,
        pairs=count,
        stride=stride,
        passes=model.fusion.passes,
        iterations=len(curves[0].moving),
        cells=movement.cells,
        curves=curves,
        epe=_averages(errors),
        run=run,
    )


def _errors(output: StereoOutput, sample: Sample) -> Floats:
    """(N, 2): sum of absolute errors after each iteration, pixels, and how many pixels it is over."""
    region, truth, measure = regions(sample)["all"], sample.disparity, EPE()
    assert truth is not None
    return np.array([measure(one[0, 0].float().cpu().numpy(), truth[0], region) for one in output.sequence])


def _averages(errors: list[Floats]) -> tuple[float, ...] | None:
    """The mean error after each iteration; None where nothing was compared."""
    sums, counts = np.sum(errors, 0).T if errors else (np.zeros(0), np.zeros(0))
    return tuple((sums / counts).tolist()) if len(counts) and counts.all() else None


def checked(thresholds: Sequence[float]) -> tuple[float, ...]:
    """The thresholds in ascending order; a PolzooError unless there are 1 to 10, positive, finite and distinct."""
    ranked = sorted(set(thresholds))
    if not 1 <= len(ranked) <= 10 or len(ranked) < len(thresholds) or not all(0 < t < float("inf") for t in ranked):
        given = ", ".join(f"{t:g}" for t in thresholds) or "none"
        raise PolzooError(f"thresholds are 1 to 10 different positive numbers of pixels, not {given}")
    return tuple(ranked)


def steps(output: StereoOutput, stride: int, crop: tuple[int, int, int, int]) -> Floats:
    """(N, h, w) increments of the first sample in pixels of the full resolution, without cells wholly in the padding.

    ``crop`` is the padding in pixels: left, right, top, bottom.
    """
    deltas = torch.stack([one.delta[0, 0].float() for one in output.trace]).cpu().numpy()
    left, right, top, bottom = (side // stride for side in crop)
    return stride * deltas[:, top : deltas.shape[1] - bottom, left : deltas.shape[2] - right]


def _run(model: StereoModel, sample: Sample, iterations: int, device: str) -> tuple[StereoOutput, Any]:
    """The output of one stereo pair with its trace, its sequence if there is truth, and the padding."""
    views = {"left": sample.left, "right": sample.right}
    if sample.intensity_left is not None and sample.intensity_right is not None:
        views |= {"intensity_left": sample.intensity_left, "intensity_right": sample.intensity_right}
    given: dict[str, Any] = {
        name: torch.from_numpy(np.ascontiguousarray(v))[None].to(device) for name, v in views.items()
    }
    polarity = torch.tensor([float(sample.polarity)], device=device)
    with evaluating(model):
        prepared = model.prepare(**given, polarity=polarity, iterations=iterations)
        return model.refine(prepared, all_iterations=sample.disparity is not None, trace=True), prepared.crop
