"""Polarization lookups and strategies written out pixel by pixel in float64, to test the package's own against."""

import numpy as np


def views(left, right, stride):
    """Two (B, C, H, W) arrays, averaged over cells."""
    b, c, h, w = left.shape
    return tuple(
        np.asarray(v, np.float64).reshape(b, c, h // stride, stride, w // stride, stride).mean((3, 5))
        for v in (left, right)
    )


def read(row, position):
    """Linear interpolation in a 1-D array, 0 beyond its ends."""
    i = int(np.floor(position))
    at = [row[j] if 0 <= j < len(row) else 0.0 for j in (i, i + 1)]
    return at[0] + (position - i) * (at[1] - at[0])


def lookup(left, right, disparity, levels, radius):
    """polarity-free volume L̄(x) − R̄(x') of (B, C, h, w) views, pooled along x' and read at
    (x − d + ½) / 2^i − ½ + k, k = −radius … radius: (B, C, levels · (2 · radius + 1), h, w)."""
    b, c, h, w = left.shape
    out = np.zeros((b, c, levels * (2 * radius + 1), h, w))
    for index in np.ndindex(b, c, h, w):
        n, g, y, x = index
        row = left[index] - right[n, g, y]
        for level in range(levels):
            if level:
                row = row[: len(row) // 2 * 2].reshape(-1, 2).mean(1) if len(row) > 1 else row
            for k in range(-radius, radius + 1):
                position = (x - disparity[n, 0, y, x] + 0.5) / 2**level - 0.5 + k
                out[n, g, level * (2 * radius + 1) + k + radius, y, x] = read(row, position)
    return out


def contrast(left, right, polarity):
    """P per sample divided by its maximum."""
    p = np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64)).mean(1, keepdims=True)
    p = p * np.abs(np.asarray(polarity, np.float64)).reshape(-1, 1, 1, 1)
    return p / (p.max((1, 2, 3), keepdims=True) + 1e-6)


def soft_threshold(p):
    return p / (1 + np.exp(-20 * (p - 0.05)))
