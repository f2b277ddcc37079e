"""One pair, measured: sums and numbers of pixels as plain JSON, from which every average is made later.

A record is ``{"index", "name", "regions": {region: pixels}, "methods": [one per method]}``, and a method's entry
``{"sums": {region: {label: [sum, number]}}, "curve": [[sum, number], …] or null, "auc": number or null, "ms"}``: the
end-point error in the protocol's mask after each iteration, and how well the gate tells glass from the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import Mask, Sample
from polzoo.errors import PolzooError
from polzoo.evaluation.estimates import ESTIMATES
from polzoo.evaluation.methods import Method, Prediction
from polzoo.evaluation.metrics import EPE, auc
from polzoo.evaluation.protocol import Protocol
from polzoo.evaluation.regions import regions

if TYPE_CHECKING:
    from polzoo.interfaces import Metric  # which imports torch: baselines do without

Record = dict[str, Any]


def measure(
    index: int, sample: Sample, methods: Sequence[Method], metrics: Sequence[Metric], protocol: Protocol
) -> Record:
    """The record of one pair.

    Raises:
        PolzooError: the pair has no true disparity or lacks a region of the protocol, or a method fails.
    """
    found = chosen(sample, protocol)
    return {
        "index": index,
        "name": sample.name,
        "regions": {name: int(region.sum()) for name, region in found.items()},
        "methods": [_method(method, sample, found, metrics, protocol) for method in methods],
    }


def chosen(sample: Sample, protocol: Protocol) -> dict[str, Mask]:
    """The regions of a pair that a protocol compares, (H, W) bool each; a PolzooError where it lacks one."""
    found = regions(sample, max_disparity=protocol.max_disparity, crop=protocol.crop)
    for name in protocol.regions or (protocol.mask,):
        if name not in found:
            needs = f"which protocol {protocol.name!r} needs: its mask is not known"
            raise PolzooError(f"pair {sample.name!r} has no region {name!r}, {needs}")
    return {name: region for name, region in found.items() if protocol.regions is None or name in protocol.regions}


def predict(method: Method, sample: Sample) -> Prediction:
    """What a method makes of a pair, checked.

    Raises:
        PolzooError: a disparity that is not (H, W).
    """
    found = method.run(sample)
    for disparity in (found.disparity, *found.sequence):
        if disparity.shape != sample.left.shape[1:]:
            size = f"{disparity.shape} for a pair of {sample.left.shape[1:]}"
            raise PolzooError(f"{method.name!r} gave a disparity of shape {size}; it must be (H, W)")
    return found


def _method(
    method: Method, sample: Sample, found: Mapping[str, Mask], metrics: Sequence[Metric], protocol: Protocol
) -> Record:
    assert sample.disparity is not None  # regions() refuses a pair without
    truth, prepare = _finite(sample.disparity[0]), ESTIMATES[protocol.estimates]
    start = time.perf_counter()
    prediction = predict(method, sample)
    spent = 1000 * (time.perf_counter() - start)
    disparity = prepare(prediction.disparity)
    sums = {
        name: {metric.label: _pair(metric(disparity, truth, region)) for metric in metrics}
        for name, region in found.items()
    }
    curve = [_pair(EPE()(prepare(one), truth, found[protocol.mask])) for one in prediction.sequence]
    score = None
    if prediction.gate is not None and sample.glass is not None:
        score = auc(prediction.gate, sample.glass[0], np.ones(truth.shape, bool))
    return {"sums": sums, "curve": curve or None, "auc": score, "ms": spent}


def _finite(truth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(truth), truth, np.float32(0))


def _pair(found: tuple[float, int]) -> list[float | int]:
    """A metric's figures, whatever number types it used, as JSON has them."""
    return [float(found[0]), int(found[1])]
