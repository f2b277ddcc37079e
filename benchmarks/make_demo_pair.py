"""Make the pair that ``polzoo demo`` shows: a generator scene from a seed reserved for demos, never trained on.

    python benchmarks/make_demo_pair.py

Writes ``polzoo/assets/demo/{left,right,disparity,glass}.png``: views 8-bit RGB, the disparity in KITTI's 16-bit form.
"""

from __future__ import annotations

from pathlib import Path

from polzoo.data.files import write_all
from polzoo.data.formats import encode_disparity, encode_image, encode_mask
from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.visualize import view

TARGET = Path(__file__).resolve().parents[1] / "polzoo" / "assets" / "demo"
SEED = 10_000_000
"""Seeds from here on are for demos: no recipe may train on them."""
INDEX = 26
BUDGET = 400_000
"""Bytes that the four files may take together."""


def sample(index: int = INDEX) -> Sample:
    return Synthetic(SyntheticOptions(seed=SEED, length=index + 1, glass=1.0))[index]


def files(pair: Sample) -> dict[str, bytes]:
    """The four files by name; raises ValueError when they are too large together."""
    assert pair.disparity is not None and pair.glass is not None
    made = {"left.png": encode_image(view(pair.left)), "right.png": encode_image(view(pair.right))}
    made["disparity.png"] = encode_disparity(".png", pair.disparity[0])
    made["glass.png"] = encode_mask(pair.glass[0])
    size = sum(map(len, made.values()))
    if size > BUDGET:
        raise ValueError(f"the demo pair takes {size:,} bytes, more than {BUDGET:,}")
    return made


if __name__ == "__main__":
    for path in write_all({TARGET / name: data for name, data in files(sample()).items()}):
        print(path)
