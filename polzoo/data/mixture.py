"""Several data sets as one, each drawn with its weight."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from itertools import accumulate

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.interfaces import Dataset

MOST = 2**27
"""Pairs of a mixture."""


class Mixture:
    """Data sets in shares: of every pass over the mixture, ``weights[k] / sum(weights)`` of the pairs are from set k.

    It is as long as it takes to show every pair of every set at least once; sets with more draws than pairs repeat.
    Which pair an index is depends on nothing else, so that a sampler's order, a function of (seed, step), is all that a
    resumed run needs, and a set's pairs stay together for it to shuffle.
    """

    def __init__(self, parts: Sequence[Dataset], weights: Sequence[float] | None = None) -> None:
        """
        Args:
            parts: the data sets.
            weights: above 0, one each; by default their lengths, which is their plain union.

        Raises:
            PolzooError: no set, a weight that is no number above 0, or weights so uneven that a pass has no end.
        """
        weights = [len(part) for part in parts] if weights is None else weights
        if not parts or len(weights) != len(parts):
            raise PolzooError(f"a mixture needs a weight for each of one or more data sets; not {len(weights)}")
        for weight in weights:
            if not 0 < weight < math.inf:
                raise PolzooError(f"a weight in a mixture must be a number above 0, not {weight:g}")
        passes = max(len(part) / weight for part, weight in zip(parts, weights, strict=True))
        draws = [max(1, round(passes * weight)) for weight in weights]
        if sum(draws) > MOST:
            shown = ", ".join(f"{len(part)}·{weight:g}" for part, weight in zip(parts, weights, strict=True))
            raise PolzooError(
                f"a pass over this mixture (pairs·weight: {shown}) has {sum(draws):,} draws; up to {MOST:,}"
            )
        self.parts, self.ends = list(parts), list(accumulate(draws))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Raises IndexError: ``index`` is not in [0, length)."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        number = bisect.bisect_right(self.ends, index)
        part, first = self.parts[number], self.ends[number - 1] if number else 0
        return part[(index - first) % len(part)]
