"""Why DoLP · (cos 2θ, sin 2θ)? ``python benchmarks/encoding.py FRAME.png`` compares inputs on a real raw frame.

Two records of one scene that differ by noise alone should give the same input. Noise of the sensor is added twice to
the frame's Stokes vectors, each encoding is made of both, and their correlation over all pixels is printed: 1 if what a
network is fed is the scene, 0 if it is noise.
"""

from __future__ import annotations

import sys

import numpy as np

from polzoo.data.formats import read_mosaic
from polzoo.data.stokes import Stokes, from_mosaic

NOISES = (0.002, 0.004, 0.008)
"""Standard deviation on S0, S1, S2; a share of the sensor's range."""


def encodings(stokes: Stokes) -> dict[str, np.ndarray]:
    """Encoding → (C, H, W)."""
    found = stokes.maps()
    dolp, aolp = found["dolp"], found["aolp"]
    circle = np.concatenate([np.cos(2 * aolp), np.sin(2 * aolp)])
    return {"θ": aolp, "cos 2θ, sin 2θ": circle, "DoLP · (cos 2θ, sin 2θ)": dolp * circle}


def main(frame: str) -> None:
    clean, random = from_mosaic(read_mosaic(frame)).values, np.random.default_rng(0)
    print(f"{'noise':>8}" + "".join(f"{name:>26}" for name in encodings(Stokes(clean))))
    for noise in NOISES:
        one, two = (
            encodings(Stokes((clean + noise * random.standard_normal(clean.shape)).astype(np.float32)))
            for _ in range(2)
        )
        found = [np.corrcoef(one[name].ravel(), two[name].ravel())[0, 1] for name in one]
        print(f"{noise:8.3f}" + "".join(f"{value:26.3f}" for value in found))


if __name__ == "__main__":
    main(sys.argv[1])
