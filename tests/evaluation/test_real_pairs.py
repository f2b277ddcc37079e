"""The data set ``real-pairs`` on files in its own layout, written by Pillow and by hand; the real ones: test_sgbm."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polzoo.errors import PolzooError
from polzoo.evaluation.options import RealPairsOptions
from polzoo.evaluation.real_pairs import PAIRS, RealPairs

HEIGHT, WIDTH = 6, 40
GREY = np.full((HEIGHT, WIDTH), 8, np.uint8)
MASK = np.where(np.arange(WIDTH) < 10, 128, 255).astype(np.uint8)[None].repeat(HEIGHT, 0)
"""Ten columns occluded, as Middlebury marks it."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    opaque = Image.fromarray(np.dstack([GREY, 2 * GREY, 3 * GREY, np.full_like(GREY, 255)]))
    for name, files in PAIRS.items():
        folder = tmp_path / files.folder
        folder.mkdir()
        for view in (files.left, files.right):
            (opaque if name == "sceneflow" else opaque.convert("RGB")).save(folder / view)
        if files.disparity.endswith(".pfm"):
            rows = struct.pack(f"<{GREY.size}f", *[8.0] * GREY.size)
            (folder / files.disparity).write_bytes(f"Pf\n{WIDTH} {HEIGHT}\n-1\n".encode() + rows)
        else:
            Image.fromarray(GREY).save(folder / files.disparity)
        if files.visible:
            Image.fromarray(MASK).save(folder / files.visible)
        if files.occluded:
            Image.fromarray(255 - MASK).save(folder / files.occluded)
    return tmp_path


def opened(root: Path) -> RealPairs:
    return RealPairs(RealPairsOptions(root=str(root)))


def test_what_is_in_it(root: Path) -> None:
    pairs = {sample.name: sample for sample in opened(root)}  # pyright: ignore[reportGeneralTypeIssues]
    disparities = {name: float(np.asarray(sample.disparity)[0, 0, 0]) for name, sample in pairs.items()}
    assert disparities == {"teddy": 2, "wood2": 4, "motorcycle": 8, "aloe": 8.5, "sceneflow": 8}
    seen = {name: None if s.visible is None else int(s.visible[0, 0].sum()) for name, s in pairs.items()}
    assert seen == {"teddy": None, "wood2": None, "motorcycle": 30, "aloe": None, "sceneflow": 30}
    assert np.array_equal(pairs["sceneflow"].left[:, 0, 0], np.array([8, 16, 24], np.float32) / np.float32(255))


@pytest.mark.parametrize("file", ["rgb_left.png", "rgb_right.png", "occ_left.png", "disp_left.pfm"])
@pytest.mark.parametrize("change", [lambda data: data[:-14], lambda data: data[: len(data) // 2]], ids=["end", "half"])
def test_a_file_that_is_cut_off_is_refused_by_its_name(root: Path, file: str, change) -> None:
    path = root / "sceneflow_A-0032-0006" / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PolzooError, match=file):
        opened(root)[4]


@pytest.mark.parametrize("file", ["rgb_right.png", "occ_left.png"])
def test_a_file_of_another_size_is_refused_by_its_name(root: Path, file: str) -> None:
    path = root / "sceneflow_A-0032-0006" / file
    with Image.open(path) as picture:
        picture.resize((WIDTH, HEIGHT + 1)).save(path)
    with pytest.raises(PolzooError, match=rf"{file}.*40×7 pixels"):
        opened(root)[4]


def test_a_view_that_can_be_seen_through_is_refused(root: Path) -> None:
    path = root / "sceneflow_A-0032-0006" / "rgb_left.png"
    with Image.open(path) as picture:
        picture.putpixel((3, 3), (1, 2, 3, 100))
        picture.save(path)
    with pytest.raises(PolzooError, match=r"rgb_left.png has 4 channels"):
        opened(root)[4]


def test_what_is_missing_is_named_at_once(root: Path) -> None:
    (root / "opencv_aloe" / "aloeGT.png").unlink()
    with pytest.raises(PolzooError, match=r"has no opencv_aloe/aloeGT.png; it must hold mid2003_teddy"):
        opened(root)
