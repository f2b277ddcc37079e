"""How far polarization input is from polanalyser on its own raw frames: ``python benchmarks/polarization.py FOLDER``.

FOLDER holds raw frames of Sony's IMX250MZR. Readings are widened to 16 bit, so that polanalyser's rounding (its
demosaicing returns integers) hides nothing; the outermost pixels, where it repeats its neighbours, are left out.
AoLP is compared modulo π where DoLP is above 0.1, DoLP where S0 is above 0.05.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polanalyser

from polzoo.data.formats import read_mosaic
from polzoo.data.mosaic import SONY, demosaic
from polzoo.data.polarization import from_mosaic

ANGLES = (0, 45, 90, 135)


def differences(raw: np.ndarray) -> dict[str, float]:
    """Largest absolute differences over a frame, (H, W) uint16."""
    corners = [angle for row in SONY for angle in row]
    ours = demosaic(raw.astype(np.float32))
    theirs = polanalyser.demosaicing(raw)
    inside = np.s_[1:-1, 1:-1]
    pictures = max(np.abs(ours[corners.index(a)][0] - b)[inside].max() for a, b in zip(ANGLES, theirs, strict=True))
    stokes = polanalyser.calcStokes(np.stack(theirs) / 65535, np.deg2rad(ANGLES))[inside]
    dolp, aolp = polanalyser.cvtStokesToDoLP(stokes), polanalyser.cvtStokesToAoLP(stokes)
    found = from_mosaic(raw).maps()
    angle = np.abs(found["aolp"][0][inside] - aolp) % np.pi
    return {
        "demosaicing [1/65535]": pictures,
        "S0, S1, S2": np.abs(found["stokes"].transpose(1, 2, 0)[inside] - stokes).max(),
        "DoLP": np.abs(found["dolp"][0][inside] - dolp)[stokes[..., 0] > 0.05].max(),
        "AoLP [rad]": np.minimum(angle, np.pi - angle)[dolp > 0.1].max(),
    }


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).glob("*.png")):
        shown = ", ".join(
            f"{name} {value:.1e}" for name, value in differences(read_mosaic(path).astype(np.uint16) * 257).items()
        )
        print(f"{path.name}: {shown}")
