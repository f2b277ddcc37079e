"""What published data sets share: a root that is looked through once, and pairs that are read when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.assemble import assemble
from polzoo.data.datasets.options import RootOptions
from polzoo.data.files import missing
from polzoo.data.formats import read_floats, read_numbers, read_view
from polzoo.data.sample import Camera, Sample
from polzoo.errors import PolzooError, home

Files = Mapping[str, Path]
Maps = dict[str, NDArray]


class Published:
    """A data set as its owners publish it. A subclass says where its files lie and how its truth is read.

    Attributes:
        title: what an error calls the set.
        homepage: where it comes from; nothing is ever downloaded.
        root: the folder that it lies in.
        lefts: every left view, relative to the root, sorted; a pair is named by this, without suffix.
    """

    title: ClassVar[str]
    homepage: ClassVar[str]

    def __init__(self, options: RootOptions) -> None:
        self.options, self.root = options, home(options.root)
        self.lefts = self.find()
        for file in self.paths(0).values():
            if not file.is_file():
                raise self.lost(str(missing(file)))

    def find(self) -> list[str]:
        """All left views; see :meth:`glob`."""
        raise NotImplementedError

    def files(self, left: str) -> dict[str, str | None]:
        """The files of a pair by what they are ("right", "disparity", …), relative to the root; None where the set has
        no such file. A set without truth has no "disparity"."""
        raise NotImplementedError

    def truth(self, files: Files) -> Maps:
        """Maps (H, W) of a pair by their names in :class:`~polzoo.data.sample.Sample`, and ``known``, where the
        disparity is."""
        raise NotImplementedError

    def camera(self, files: Files) -> Camera | None:
        """The calibration of a pair, if the set has one."""
        return None

    def __len__(self) -> int:
        return len(self.lefts)

    def __getitem__(self, index: int) -> Sample:
        """Pair ``index``.

        Raises:
            IndexError: ``index`` is not in [0, length).
            PolzooError: a file that is missing, damaged or not in the set's own format.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        files = self.paths(index)
        views = {side: read_view(files[side], published=True) for side in ("left", "right")}
        maps = self.truth(files) if "disparity" in files else {}
        name = f"{self.title}/{self.lefts[index].rpartition('.')[0]}"
        return assemble(views, maps, files, name=name, camera=self.camera(files))

    def glob(self, *patterns: str) -> list[str]:
        """The files that one of the patterns finds, relative to the root, sorted.

        Raises:
            PolzooError: there are none; it says what should be where, and where the set comes from.
        """
        found = [path for pattern in patterns for path in self.root.glob(pattern) if not path.name.startswith(".")]
        if not found:
            raise self.lost(f"{self.root} {'has no' if self.root.is_dir() else 'is no folder with'} {patterns[0]}")
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def lost(self, what: str) -> PolzooError:
        """The error for a root that is not as the set is published."""
        return PolzooError(f"{self.title}: {what}; root must hold the files as they come from {self.homepage}")

    def has(self, file: str) -> str | None:
        """``file`` where the root has something of that name, else None: parts of a set that not everybody has."""
        return file if os.path.lexists(self.root / file) else None

    def paths(self, index: int) -> dict[str, Path]:
        """The files of pair ``index`` by what they are."""
        left = self.lefts[index]
        named = {"left": left, **self.files(left)}
        return {kind: self.root / file for kind, file in named.items() if file is not None}


def read_pfm(path: Path) -> Maps:
    """``disparity`` and ``known`` of a PFM in pixels, infinite where there is no truth.

    Raises:
        PolzooError: NaN or negative numbers, which no set publishes.
    """
    values = read_floats(path)
    known = np.isfinite(values)
    if not values.min() >= 0:  # the least of numbers with NaN is NaN
        raise PolzooError(f"{path} holds NaN or numbers out of range; disparities are above 0, infinite where unknown")
    return {"disparity": np.where(known, values, np.float32(0)), "known": known}


def unpack(path: Path, weights: Sequence[float]) -> NDArray[np.float32]:
    """(H, W): the sum of an 8-bit RGB picture's channels, each times its weight."""
    planes = cv2.split(read_numbers(path, "a packed disparity", channels=[3], bits=[8]))
    total = np.zeros(planes[0].shape, np.float32)
    for plane, weight in zip(planes, weights, strict=True):
        total += np.multiply(plane, np.float32(weight), dtype=np.float32)
    return total


def from_depth(path: Path, depth: NDArray[np.float32], strength: float, farthest: float = np.inf) -> Maps:
    """``disparity`` = ``strength`` / depth, and ``known``: 0 < depth < ``farthest``.

    Raises:
        PolzooError: depths that are NaN or negative.
    """
    if not depth.min() >= 0:  # the least of numbers with NaN is NaN
        raise PolzooError(f"{path} holds NaN or depths below 0")
    known = (depth > 0) & (depth < farthest)
    disparity = np.divide(np.float32(strength), depth, out=np.zeros_like(depth), where=known)
    return {"disparity": disparity, "known": known}
