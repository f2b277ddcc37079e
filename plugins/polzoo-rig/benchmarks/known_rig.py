"""How exact is the rectification? ``python benchmarks/known_rig.py`` measures it on rigs that are known exactly.

Raw frames of a chequered plane are rendered for two cameras with lens distortion, roll and squint (tests/rigs.py),
demosaiced, rectified and looked at: rows of the same corner in both views, and the angle of polarization.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from polzoo_rig.calibration import Calibration
from polzoo_rig.rectify import Rectification

from polzoo.data.stokes import Stokes, from_mosaic

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import rigs


def corners(view: Stokes) -> np.ndarray:
    grey = np.clip(255 * view.values[0, 0] / 2, 0, 255).astype(np.uint8)
    found, places = cv2.findChessboardCornersSB(grey, (rigs.COLUMNS, rigs.ROWS), flags=cv2.CALIB_CB_ACCURACY)
    assert found, "the board is not wholly in view"
    return places.reshape(-1, 2)


def apart(left: Stokes, right: Stokes) -> float:
    """Root mean square of the corners' difference in rows, pixels."""
    return float(np.sqrt(np.mean((corners(left)[:, 1] - corners(right)[:, 1]) ** 2)))


def main() -> None:
    print(f"{'roll, squint':>16}{'raw rows (px)':>16}{'rectified (px)':>16}{'raw angle (°)':>16}{'rectified (°)':>16}")
    for roll, squint in ((0.0, 0.0), (1.0, 1.0), (3.0, 2.0), (5.0, 3.0)):
        matrices, turns = rigs.matrices(roll, squint)
        raw = [from_mosaic(rigs.record(matrices, turns, side)) for side in (1, 2)]
        seen = Rectification(Calibration(*(matrices[name] for name in ("K1", "D1", "K2", "D2", "R", "T"))), rigs.SIZE)(
            *raw
        )
        inside = np.s_[0, 150:330, 200:440]
        angles = [np.rad2deg(np.median(view.maps()["aolp"][inside])) for view in (*raw, *seen)]
        rows = f"{apart(*raw):16.2f}{apart(*seen):16.3f}"
        turned = f"{abs(angles[0] - angles[1]):16.2f}{abs(angles[2] - angles[3]):16.2f}"
        print(f"{f'{roll:g}°, {squint:g}°':>16}{rows}{turned}")


if __name__ == "__main__":
    main()
