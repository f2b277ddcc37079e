"""Pairs changed at random for training, with everything that is known of them changed alike.

Each step is a function of a sample and of the numbers drawn for it, so that what a run trains on is a pure function of
its seed and of a pair's position in it. What an image operation does to polarization is in ``augment_geometry``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from polzoo.data.augment_colour import Colours, recoloured
from polzoo.data.augment_geometry import cropped, erased, mirrored, moved, resized, upside_down
from polzoo.data.augment_options import AugmentOptions
from polzoo.data.sample import Sample


def augment(sample: Sample, options: AugmentOptions, generator: Generator) -> Sample:
    """One random version of a pair; the pair itself under default options.

    Colours first, then size, the window, mirrors, the right view's rows, and what is blanked in it.

    Args:
        sample: any pair; what is not known of it stays unknown.
        generator: seeded by what the result may depend on; nothing else is random.
    """
    o = options
    sample = _coloured(sample, o, generator)
    sample = _sized(sample, o, generator)
    if o.crop is not None:
        top, left = (int(generator.integers(have - need + 1)) for have, need in zip(_size(sample), o.crop, strict=True))
        sample = cropped(sample, top, left, *o.crop)
    if generator.random() < o.flip:
        sample = mirrored(sample)
    if generator.random() < o.upside_down:
        sample = upside_down(sample)
    down = int(generator.integers(-o.jitter, o.jitter + 1))
    if down:
        sample = moved(sample, down)
    if generator.random() < o.erase:
        for _ in range(generator.integers(1, 3)):
            top, left = (int(generator.integers(side)) for side in _size(sample))
            rows, columns = generator.integers(o.erase_side[0], o.erase_side[1] + 1, 2).tolist()
            sample = erased(sample, top, left, rows, columns)
    return sample


def _coloured(sample: Sample, o: AugmentOptions, generator: Generator) -> Sample:
    first, second = (Colours.draw(o, generator) for _ in range(2))
    each = generator.random() < o.asymmetric
    if o.keep_ratio == "always" or (o.keep_ratio == "polarized" and sample.polarity):
        return _brightened(sample, first.brightness)
    left, right = recoloured(sample.left, first), recoloured(sample.right, second if each else first)
    return replace(sample, left=left, right=right)


def _brightened(sample: Sample, factor: float) -> Sample:
    """More or less light on the whole scene: one factor for all, no more than keeps the brightest value in [0, 1]."""
    names = ("left", "right", "intensity_left", "intensity_right")
    views = {name: view for name in names if (view := getattr(sample, name)) is not None}
    brightest = max(float(view.max()) for view in views.values())
    factor = min(factor, 1 / max(brightest, 1e-6))
    if factor == 1:
        return sample
    lit = {name: np.minimum(view * np.float32(factor), 1) for name, view in views.items()}
    stokes = {name: m * np.float32(factor) for name, m in sample.polarization.items() if name.startswith("stokes")}
    return replace(sample, **lit, polarization={**sample.polarization, **stokes})


def _sized(sample: Sample, o: AugmentOptions, generator: Generator) -> Sample:
    """Scaled and stretched, and enlarged as far as the window needs it."""
    scale, stretch = (_log_uniform(generator, *ends) for ends in (o.scale, o.stretch))
    size = _size(sample)
    wanted = [max(1, round(side * factor)) for side, factor in zip(size, (scale, scale * stretch), strict=True)]
    if o.crop is not None:
        enlarged = max(1.0, *(need / have for need, have in zip(o.crop, wanted, strict=True)))
        wanted = [max(math.ceil(have * enlarged), need) for have, need in zip(wanted, o.crop, strict=True)]
    return sample if tuple(wanted) == size else resized(sample, *wanted)


def _log_uniform(generator: Generator, low: float, high: float) -> float:
    drawn = generator.random()  # always, so that what follows does not depend on the ends
    return float(low * (high / low) ** drawn)


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample.left.shape[1:]
    return height, width
