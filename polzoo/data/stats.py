"""What is in a data set: sizes, disparities, what is known, and how bright the views are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from polzoo.data.sample import Sample
from polzoo.settings import POLARITY

if TYPE_CHECKING:
    from polzoo.data.check import Progress
    from polzoo.interfaces import Dataset

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)

PER_PAIR = 4096
"""Disparities of a pair that the quantiles are taken of, evenly spread over its known pixels."""

SHARES = ("valid", "visible", "outside", "glass")


def stats(dataset: Dataset, *, limit: int | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Figures of the first ``limit`` pairs (all by default), as a JSON-able object; what is not known is None.

    Returns:
        ``pairs``; ``sizes`` ("W×H" → pairs) and ``polarity`` (analysers → pairs); ``disparity`` in pixels: ``least``,
        ``most`` and ``quantiles`` (share → px, of :data:`PER_PAIR` pixels a pair, so that every pair counts alike) and
        the number of ``pairs`` that have it; ``shares`` of the pixels of pairs that know them; ``left`` and ``right``:
        ``mean`` and ``std`` of each channel over all pixels, in [0, 1].

    Raises:
        PolzooError: a pair that cannot be read; ``polzoo data check`` lists them.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    sizes, polarity, known = Counter(), Counter(), []
    ends, truths = [np.inf, -np.inf], 0
    marked, views = {name: [0, 0] for name in SHARES}, {"left": np.zeros((3, 3)), "right": np.zeros((3, 3))}
    for index in progress(range(count), count) if progress else range(count):
        sample = dataset[index]
        sizes["×".join(map(str, sample.left.shape[:0:-1]))] += 1
        polarity[next((name for name, sign in POLARITY.items() if sign == sample.polarity), "unknown")] += 1
        for disparity in _known(sample):
            truths += 1
            ends = [min(ends[0], float(disparity.min())), max(ends[1], float(disparity.max()))]
            known.append(disparity[:: -(-disparity.size // PER_PAIR)])
        for name, numbers in marked.items():
            mask = getattr(sample, name)
            if mask is not None:
                numbers[0], numbers[1] = numbers[0] + int(mask.sum()), numbers[1] + mask.size
        for name, sums in views.items():
            view = getattr(sample, name).astype(np.float64)
            sums += np.stack([np.full(3, view[0].size), view.sum((1, 2)), (view**2).sum((1, 2))])
    quantiles = np.quantile(np.concatenate(known), QUANTILES).tolist() if known else []
    return {
        "pairs": count,
        "sizes": dict(sizes.most_common()),
        "polarity": dict(polarity.most_common()),
        "disparity": {
            "pairs": truths,
            "least": ends[0],
            "most": ends[1],
            "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True)),
        }
        if known
        else None,
        "shares": {name: part / whole if whole else None for name, (part, whole) in marked.items()},
        **{name: _moments(sums) for name, sums in views.items()},
    }


def _known(sample: Sample) -> Iterator[np.ndarray]:
    """The known disparities of a pair, (N,), if there are any."""
    if sample.disparity is not None:
        found = sample.disparity[np.isfinite(sample.disparity) if sample.valid is None else sample.valid]
        if found.size:
            yield found


def _moments(sums: np.ndarray) -> dict[str, list[float]]:
    count, total, squares = sums
    mean = total / count
    return {"mean": mean.tolist(), "std": np.sqrt(np.maximum(squares / count - mean**2, 0)).tolist()}


def table(found: dict[str, Any]) -> str:
    """The figures as lines for people."""
    lines = [("pairs", str(found["pairs"]))]
    lines += [(name, ", ".join(f"{key} ({n})" for key, n in found[name].items())) for name in ("sizes", "polarity")]
    disparity = found["disparity"]
    if disparity is None:
        lines.append(("disparity", "not known"))
    else:
        quantiles = ", ".join(f"{value:.1f} ({float(share):.0%})" for share, value in disparity["quantiles"].items())
        ends = f"{disparity['least']:.1f} to {disparity['most']:.1f} px in {disparity['pairs']} pairs"
        lines += [("disparity", ends), ("quantiles", f"{quantiles} px")]
    lines += [(name, "not known" if part is None else f"{part:.1%}") for name, part in found["shares"].items()]
    for name in ("left", "right"):
        both = (" ".join(f"{value:.3f}" for value in found[name][what]) for what in ("mean", "std"))
        lines.append((name, "mean {}, std {} (RGB)".format(*both)))
    return "\n".join(f"{name:10}  {value}" for name, value in lines)
