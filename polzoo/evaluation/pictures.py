"""The worst pairs of an evaluation as small pictures: the view, the truth, every method's disparity and its error."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from polzoo.data.sample import Sample
from polzoo.evaluation.estimates import ESTIMATES
from polzoo.evaluation.measure import chosen, predict
from polzoo.evaluation.methods import Method
from polzoo.evaluation.protocol import Protocol
from polzoo.visualize import Picture, colour, error_map, view

if TYPE_CHECKING:
    from polzoo.interfaces import Dataset

MOST, WIDE, COLOURS = 40, 320, 96
"""At most so many pictures in a report, so many pixels wide, of so many colours: together below 4 MB."""
LIMIT = 5.0
"""Pixels of error that are shown white."""


class Shown(NamedTuple):
    """One pair: its place in the data set, its name, and captioned PNG files."""

    index: int
    name: str
    pictures: tuple[tuple[str, bytes], ...]


def worst(
    result: dict[str, Any], dataset: Dataset | Sequence[Sample], methods: Sequence[Method], protocol: Protocol
) -> list[Shown]:
    """The pairs on which the first method's headline figure is highest, worst first; predicted once more."""
    label = next(iter(result["metrics"]))
    figures = result["methods"][0]["each"][label]
    ranked = sorted((-figure, index) for index, figure in enumerate(figures) if figure is not None)
    count = max(1, min(6, MOST // (2 + 2 * len(methods))))
    return [_shown(index, dataset[index], methods, protocol) for _, index in ranked[:count]]


def _shown(index: int, sample: Sample, methods: Sequence[Method], protocol: Protocol) -> Shown:
    assert sample.disparity is not None
    region, truth = chosen(sample, protocol)[protocol.mask], sample.disparity[0]
    low, high = np.percentile(truth[region], (1, 99)) if region.any() else (0.0, 1.0)
    found = [("left view", view(sample.left)), ("truth", colour(truth, low, high, region))]
    for method in methods:
        disparity = ESTIMATES[protocol.estimates](predict(method, sample).disparity)
        found.append((f"{method.name}: disparity", colour(disparity, low, high)))
        found.append((f"{method.name}: error, white from {LIMIT:g} px", error_map(disparity, truth, region, LIMIT)))
    return Shown(index, sample.name, tuple((caption, png(picture)) for caption, picture in found))


def png(picture: Picture) -> bytes:
    """An (H, W, 3) uint8 RGB picture as a small PNG, at most 320 pixels wide."""
    scale = min(1.0, WIDE / picture.shape[1])
    size = max(1, round(scale * picture.shape[1])), max(1, round(scale * picture.shape[0]))
    small = Image.fromarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    stream = io.BytesIO()
    small.quantize(COLOURS).save(stream, "PNG", optimize=True)
    return stream.getvalue()
