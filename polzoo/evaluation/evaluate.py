"""Run methods over a data set and average their errors, region by region.

A method is a checkpoint's name or a baseline with options. Every method sees the same pair once; every figure is a sum
over pixels and their number per pair, so that both averages, over pixels and over pairs, are exact.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polzoo import cards
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError, home, shorten, unknown
from polzoo.evaluation import report
from polzoo.evaluation.regions import REGIONS, regions
from polzoo.registry import registry
from polzoo.spec import format_part, make_part, parse, parse_part
from polzoo.zoo import instantiate

if TYPE_CHECKING:
    from polzoo.interfaces import Dataset, Metric  # which imports torch: baselines do without

METRICS = ("epe", "bad(threshold=1.0)", "bad(threshold=2.0)", "bad(threshold=3.0)", "density")
"""Spec texts of the figures that every evaluation has."""


@dataclass(frozen=True)
class Method:
    """Something that turns a pair into a disparity: (H, W) float32, pixels, NaN where it has no estimate."""

    name: str
    kind: str
    spec: str
    run: Callable[[Sample], NDArray[np.float32]]
    iterations: int | None = None
    sha256: str | None = None


@dataclass
class Tally:
    """One metric of one method in one region: a sum and a number of pixels per pair."""

    sums: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, total: float, count: int) -> None:
        self.sums.append(total)
        self.counts.append(count)

    def result(self, unit: str) -> dict[str, float | int | None]:
        """Averages over ``pixels`` and over ``pairs``, None where nothing was counted, and the numbers of both."""
        scale, count = 100.0 if unit == "%" else 1.0, sum(self.counts)
        means = [mean for mean in self.each(unit) if mean is not None]
        return {
            "pixels": scale * math.fsum(self.sums) / count if count else None,
            "pairs": math.fsum(means) / len(means) if means else None,
            "pixel_count": count,
            "pair_count": len(means),
        }

    def each(self, unit: str) -> list[float | None]:
        """The average of every pair, None where nothing was counted."""
        scale = 100.0 if unit == "%" else 1.0
        return [scale * total / n if n else None for total, n in zip(self.sums, self.counts, strict=True)]


def evaluate(
    methods: Sequence[str],
    dataset: Dataset | Sequence[Sample],
    *,
    data: str = "",
    limit: int | None = None,
    iterations: int | None = None,
    metrics: Sequence[str] = METRICS,
    device: str = "cpu",
    command: str | None = None,
    progress: Callable[[Iterable[Sample], int], Iterable[Sample]] | None = None,
) -> dict[str, Any]:
    """Figures of every method on the first ``limit`` pairs (all by default), as one JSON-able table.

    Args:
        methods: checkpoint names, or baselines with options such as ``sgbm-filled(block_size=3)``.
        dataset: pairs with true disparity.
        data: what to call the data set in the result.
        iterations: of the checkpoints, where not their own.
        metrics: spec texts of registered metrics.
        device: where the checkpoints run.
        command: what to note as the command; this process's own command line by default.
        progress: wraps the iteration over the pairs (their iterable and number), to show how far it is.

    Returns:
        ``data`` (with the pairs' names), ``metrics``, ``regions`` (of how many ``pairs`` each has pixels, in how many
        it is ``empty`` or ``unknown``), ``methods`` (per region and metric the average over ``pixels`` and over
        ``pairs``, None where nothing was counted: a pair without pixels in a region is left out, never 0; ``each``
        pair's own figures over all its known pixels) and ``run``. Everything but ``run`` and ``median_ms`` is the same
        whenever the same is evaluated.

    Raises:
        PolzooError: an unknown method or metric, or a pair without true disparity.
    """
    found = _methods(methods, iterations, device)
    measures = _metrics(metrics)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if count < 1:
        raise PolzooError(f"there is no pair to evaluate on in {shorten(data) or 'the data set'}")
    pairs = islice((dataset[index] for index in range(count)), count)
    board = _Board(found, measures)
    for sample in progress(pairs, count) if progress else pairs:
        board.add(sample)
    return {
        "data": {"spec": data, "pairs": count, "names": board.names},
        "metrics": {metric.label: {"spec": text, "unit": metric.unit} for text, metric in measures.items()},
        **board.result(),
        "run": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if command is None else command,
            "device": device,
            "versions": report.versions(),
        },
    }


class _Board:
    """The tallies of an evaluation."""

    def __init__(self, methods: list[Method], metrics: dict[str, Metric]) -> None:
        self.methods, self.metrics = methods, metrics.values()
        self.tallies: dict[tuple[str, str, str], Tally] = {}
        self.regions = {name: {"pairs": 0, "empty": 0, "unknown": 0} for name in REGIONS}
        self.seconds: dict[str, list[float]] = {method.name: [] for method in methods}
        self.names: list[str] = []

    def add(self, sample: Sample) -> None:
        """Run every method on one pair."""
        found = regions(sample)
        self.names.append(sample.name)
        for name, numbers in self.regions.items():
            numbers["unknown" if name not in found else "pairs" if found[name].any() else "empty"] += 1
        truth = sample.disparity
        assert truth is not None  # regions() refuses a pair without
        for method in self.methods:
            predicted = self._run(method, sample)
            for name, region in found.items():
                for metric in self.metrics:
                    tally = self.tallies.setdefault((method.name, name, metric.label), Tally())
                    tally.add(*metric(predicted, truth[0], region))

    def result(self) -> dict[str, Any]:
        """Regions that are known in at least one pair, and every method's figures there."""
        known = {name: numbers for name, numbers in self.regions.items() if numbers["pairs"] + numbers["empty"]}
        return {"regions": known, "methods": [self._figures(method, known) for method in self.methods]}

    def _figures(self, method: Method, known: Iterable[str]) -> dict[str, Any]:
        about = {"name": method.name, "kind": method.kind, "spec": method.spec}
        about |= {"iterations": method.iterations, "sha256": method.sha256}  # of a checkpoint's weights
        figures = {
            name: {m.label: self.tallies[method.name, name, m.label].result(m.unit) for m in self.metrics}
            for name in known
        }
        each = {m.label: self.tallies[method.name, "all", m.label].each(m.unit) for m in self.metrics}
        return {**about, "median_ms": 1000 * median(self.seconds[method.name]), "regions": figures, "each": each}

    def _run(self, method: Method, sample: Sample) -> NDArray[np.float32]:
        start = time.perf_counter()
        predicted = method.run(sample)
        self.seconds[method.name].append(time.perf_counter() - start)
        if predicted.shape != sample.left.shape[1:]:
            size = f"{predicted.shape} for a pair of {sample.left.shape[1:]}"
            raise PolzooError(f"{method.name!r} gave a disparity of shape {size}; it must be (H, W)")
        return predicted


# ------------------------------------------------------------------------------------------------ names to components


def open_data(text: str) -> tuple[Dataset, str]:
    """A data set from its spec text (``synthetic(seed=9000,length=50)``), a folder or a CSV file; and its full spec.

    Raises:
        PolzooError: nothing of that name, or a folder that is not there or not laid out as expected.
    """
    zoo, path = registry(), home(text)
    name = text.partition("(")[0].strip().removeprefix("dataset=").strip()
    if zoo.find("dataset", name):
        part = parse_part("dataset", text)
        return instantiate("dataset", part), format_part("dataset", part)
    if not os.path.exists(path) and not ("/" in text or "\\" in text or path.suffix.lower() == ".csv"):
        error = unknown("data set", name, [entry.key for entry in zoo.entries("dataset")])
        raise PolzooError(f"{error}; a folder or a CSV file of pairs must exist: {shorten(text)!r} does not")
    part = make_part("dataset", "folder", {"path": str(path)})
    return instantiate("dataset", part), format_part("dataset", part)


def _methods(names: Sequence[str], iterations: int | None, device: str) -> list[Method]:
    if not names:
        raise PolzooError("name at least one method: a checkpoint or a baseline such as 'sgbm-filled'")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise PolzooError(f"{shorten(name)!r} is named twice; name every method once")
    return [_method(name, iterations, device) for name in names]


def _method(text: str, iterations: int | None, device: str) -> Method:
    """A checkpoint if there is one of that name, else a baseline; anything else is an error that says what it is."""
    models, zoo = cards.list_models(), registry()
    name = text.partition("(")[0].strip().removeprefix("baseline=").strip()
    if text not in models and zoo.find("baseline", name):
        return _baseline(text)
    if text in models or text.startswith(("dir:", "hf:")) or ("/" in text and "(" not in text):
        return _checkpoint(text, iterations, device)
    try:
        parse(text)
    except PolzooError:
        baselines = [entry.key for entry in zoo.entries("baseline")]
        raise unknown("checkpoint or baseline", text, [*models, *baselines]) from None
    shown = ", ".join(models[:10]) or "polzoo train makes them"
    raise PolzooError(f"{shorten(text)!r} is a spec, whose weights are untrained; name a checkpoint ({shown})")


def _baseline(text: str) -> Method:
    part = parse_part("baseline", text)
    match = instantiate("baseline", part)
    return Method(text, "baseline", format_part("baseline", part), lambda sample: match(sample.left, sample.right))


def _checkpoint(text: str, iterations: int | None, device: str) -> Method:
    import torch

    import polzoo
    from polzoo.config import WEIGHTS, read_config
    from polzoo.names import resolve
    from polzoo.predict import as_inputs, as_iterations

    model = polzoo.load(text, device=device)
    steps = as_iterations(iterations) or model.settings.iterations

    def run(sample: Sample) -> NDArray[np.float32]:
        views = (view.transpose(1, 2, 0) for view in (sample.left, sample.right))
        pair = as_inputs(model, *views, polarity=sample.polarity, iterations=steps)
        seen = {"intensity_left": sample.intensity_left, "intensity_right": sample.intensity_right}
        for name, view in seen.items():
            if view is not None:
                pair.call[name] = torch.from_numpy(np.ascontiguousarray(view))[None].to(pair.left)
        with torch.inference_mode():
            output = model(pair.left, pair.right, **pair.call)
        return output.disparity[0, 0].float().cpu().numpy()

    weights = read_config(resolve(text)).sha256[WEIGHTS]
    return Method(text, "checkpoint", str(model.spec), run, steps, weights)


def _metrics(texts: Sequence[str]) -> dict[str, Metric]:
    """Canonical text → metric; each label once."""
    parts = {format_part("metric", part): part for part in (parse_part("metric", text) for text in texts)}
    found = {text: instantiate("metric", part) for text, part in parts.items()}
    labels = [metric.label for metric in found.values()]
    for label in labels:
        if labels.count(label) > 1:
            raise PolzooError(f"two metrics are called {label!r}; name one of them")
    return found
