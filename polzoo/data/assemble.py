"""From what was read of a pair's files to a sample: sizes that agree, and a truth that can be one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import FloatMap, Sample
from polzoo.errors import PolzooError


def assemble(
    views: Mapping[str, FloatMap], maps: Mapping[str, NDArray], files: Mapping[str, Path], **rest: Any
) -> Sample:
    """The sample of a pair.

    Args:
        views: ``left`` and ``right``, (3, H, W).
        maps: (H, W) each, by their names in :class:`Sample`; ``known`` is where the disparity is, and belongs to it.
        files: where each came from, for an error.
        rest: further fields of the sample.

    Raises:
        PolzooError: maps of several sizes, or a disparity that is negative or wider than the picture.
    """
    check_sizes({"left": views["left"][0], "right": views["right"][0], **maps}, files)
    given = dict(maps)
    if "disparity" in given:
        known = given.pop("known")
        _check_truth(given["disparity"], known, files["disparity"])
        given["valid"] = known & given["valid"] if "valid" in given else known
    return Sample(**views, **{kind: np.ascontiguousarray(values)[None] for kind, values in given.items()}, **rest)


def check_sizes(maps: Mapping[str, NDArray], files: Mapping[str, Path]) -> None:
    """Raises PolzooError where maps (H, W) have not the size of the first of them."""
    (first, like), *others = maps.items()
    for kind, values in others:
        if values.shape != like.shape:
            wanted = f"{files[first].name} ({first}) is {_size(like.shape)}"
            raise PolzooError(f"{files.get(kind, files[first])} ({kind}) is {_size(values.shape)} pixels, {wanted}")


def _check_truth(disparity: NDArray[np.float32], known: NDArray[np.bool_], path: Path) -> None:
    """Known disparities (every fourth row and column, or all) must look like pixels of this picture, positive."""
    some = disparity[::4, ::4][known[::4, ::4]]
    some = some if some.size else disparity[known]
    middle, width = float(np.median(some)) if some.size else 0.0, disparity.shape[1]
    if middle < 0:
        raise PolzooError(f"{path} is negative (median {middle:.1f} px): should its scale have the other sign?")
    if middle > width:
        raise PolzooError(f"{path} has a median of {middle:.0f} px, the picture is {width} px wide: what is its scale?")


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[::-1]))
