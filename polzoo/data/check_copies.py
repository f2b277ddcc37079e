"""Pairs that are there twice, bit by bit or nearly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from polzoo.data.sample import Sample
from polzoo.data.warp import grey

SIDE = 16
"""Of the small picture that pairs are compared by, pixels."""

ALIKE = 1.0
"""Root mean square difference, grey levels, up to which two small pictures are nearly the same."""

BLOCK = 1024


class Copy(NamedTuple):
    """Pair ``index`` is pair ``of`` again; ``exact``: both views are, bit by bit."""

    index: int
    of: int
    exact: bool


class Copies:
    """Collects 1 kB of every pair, whatever its size."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.digests: list[bytes] = []
        self.small: list[np.ndarray] = []

    def add(self, index: int, sample: Sample) -> None:
        digest = hashlib.blake2b(sample.left.tobytes(), digest_size=16)
        digest.update(sample.right.tobytes())
        self.indices.append(index)
        self.digests.append(digest.digest())
        self.small.append(cv2.resize(grey(sample.left), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel())

    def found(self) -> Iterator[Copy]:
        """Every pair that looks like an earlier one, named once, with the earliest of them."""
        first: dict[bytes, int] = {}
        for place, digest in enumerate(self.digests):
            first.setdefault(digest, place)
        alike = self._alike()
        for place, digest in enumerate(self.digests):
            exact = first[digest] < place
            of = first[digest] if exact else alike[place]
            if of < place:
                yield Copy(self.indices[place], self.indices[of], exact)

    def _alike(self) -> list[int]:
        """Of each pair the first one whose small picture is nearly the same: itself, if there is none before."""
        if not self.small:
            return []
        pictures = np.stack(self.small) - np.float32(128)
        power, found = (pictures**2).sum(1), []
        for start in range(0, len(pictures), BLOCK):
            rows = slice(start, start + BLOCK)
            distance = power[rows, None] + power - 2 * pictures[rows] @ pictures.T
            near = distance <= ALIKE**2 * SIDE**2
            near[np.arange(near.shape[0]), start + np.arange(near.shape[0])] = True  # itself, whatever the rounding
            found += near.argmax(1).tolist()
        return found
