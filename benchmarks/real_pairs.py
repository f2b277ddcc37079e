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

from polzoo.data.files import write_bytes
from polzoo.data.folder import COLUMNS
from polzoo.data.formats import encode_mask, write_image
from polzoo.evaluation.options import RealPairsOptions
from polzoo.evaluation.real_pairs import PAIRS, RealPairs
from polzoo.visualize import view


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
    pairs, made = RealPairs(RealPairsOptions(root=str(data))), {}
    for name, sample in zip(PAIRS, (pairs[index] for index in range(len(pairs))), strict=True):
        files = made.setdefault(name, {})
        if name == "sceneflow":
            for side in ("left", "right"):
                files[side] = write_image(beside / f"{name}_{side}.png", view(getattr(sample, side)))
        if sample.visible is not None:
            files["visible"] = write_bytes(beside / f"{name}_visible.png", encode_mask(sample.visible[0]))
    return made


def _relative(path: Path, manifest: Path) -> str:
    return Path(os.path.relpath(path.resolve(), manifest.parent.resolve())).as_posix()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a CSV manifest of the real pairs.")
    parser.add_argument("data", type=Path, help="folder of the real pairs")
    parser.add_argument("manifest", type=Path, help="CSV file to write")
    arguments = parser.parse_args()
    print(write_manifest(arguments.data, arguments.manifest))
