"""A CSV manifest of the pairs of the protocol ``real-pairs``, for commands that take files of your own.

    python benchmarks/real_pairs.py ../shared/data runs/real_pairs.csv

Nothing of the data is shipped. What the data set ``folder`` does not read as it is (an alpha channel, masks with their
own meaning) is written anew beside the manifest. Origins and terms: README.md of the data.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import cv2
import numpy as np

from polzoo.data.files import read_bytes, write_bytes
from polzoo.data.folder import COLUMNS
from polzoo.errors import PolzooError
from polzoo.evaluation.real_pairs import PAIRS


def write_manifest(data: Path, manifest: Path) -> Path:
    """Write ``manifest`` and, beside it, the files that had to be converted; returns its path."""
    beside = manifest.parent / f"{manifest.stem}_files"
    made = _convert(data, beside)
    rows = []
    for name, pair in PAIRS.items():
        files = {kind: data / pair.folder / getattr(pair, kind) for kind in ("left", "right", "disparity")}
        files |= made.get(name, {})
        about = {"name": name, "polarity": "none", "scale": pair.scale, "offset": pair.offset}
        rows.append(about | {kind: _relative(path, manifest) for kind, path in files.items()})
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def _convert(data: Path, beside: Path) -> dict[str, dict[str, Path]]:
    """SceneFlow's views without their (opaque) alpha channel; masks, white where the right view sees the point."""
    scene, motorcycle = data / "sceneflow_A-0032-0006", data / "mid2014Q_Motorcycle"
    made = {
        "sceneflow": {
            side: _write(beside / f"sceneflow_{side}.png", _read(scene / f"rgb_{side}.png")[..., :3])
            for side in ("left", "right")
        },
        "motorcycle": {
            "visible": _write(beside / "motorcycle_visible.png", _white(_read(motorcycle / "mask0nocc.png") == 255))
        },
    }
    made["sceneflow"]["visible"] = _write(beside / "sceneflow_visible.png", _white(_read(scene / "occ_left.png") == 0))
    return made


def _white(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def _read(path: Path) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PolzooError(f"{path} is not an image that can be read")
    return pixels


def _write(path: Path, pixels: np.ndarray) -> Path:
    return write_bytes(path, cv2.imencode(".png", pixels)[1].tobytes())


def _relative(path: Path, manifest: Path) -> str:
    return Path(os.path.relpath(path.resolve(), manifest.parent.resolve())).as_posix()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a CSV manifest of the real pairs.")
    parser.add_argument("data", type=Path, help="folder of the real pairs")
    parser.add_argument("manifest", type=Path, help="CSV file to write")
    arguments = parser.parse_args()
    print(write_manifest(arguments.data, arguments.manifest))
