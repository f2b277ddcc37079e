"""Submission files as the benchmarks' own pages describe them, read by other means than ours."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation.methods import Method, Prediction
from polzoo.evaluation.submission import BENCHMARKS, submit

NAN = np.nan
FOUND = np.array([[0.0, -2.0, 1.001, NAN], [255.99, 300.0, 7.5, 0.25]], np.float32)


def method(disparity: np.ndarray = FOUND, name: str = "dir:/runs/my_model(x=1)") -> Method:
    return Method(name, "baseline", "b", lambda sample: Prediction(disparity))


def pairs(*names: str) -> list[Sample]:
    picture = np.zeros((3, 2, 4), np.float32)
    return [Sample(picture, picture, name=name) for name in names]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pfm(path: Path) -> np.ndarray:
    """By the format's page: three lines of header, bottom row first, a negative scale is little endian."""
    magic, size, scale, data = path.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    assert magic == b"Pf" and float(scale) < 0 and len(data) == 4 * width * height
    rows = [struct.unpack_from(f"<{width}f", data, 4 * width * row) for row in range(height)]
    return np.array(rows[::-1], np.float32)


@pytest.mark.parametrize(("benchmark", "folder"), [("kitti12", ""), ("kitti15", "disp_0/")])
def test_kitti(benchmark: str, folder: str, tmp_path: Path) -> None:
    names = [f"{benchmark}/testing/image_2/00000{i}_10" for i in range(2)]
    (spec,) = BENCHMARKS[benchmark].data
    submit(benchmark, method(), [(spec, pairs(*names))], tmp_path / "out")
    assert files(tmp_path / "out") == [f"{folder}00000{i}_10.png" for i in range(2)]
    stored = cv2.imread(str(tmp_path / "out" / f"{folder}000000_10.png"), cv2.IMREAD_UNCHANGED)
    assert stored is not None and stored.dtype == np.uint16 and stored.ndim == 2
    # Below 1/256 px there is 1, for 0 says that there is none; what 16 bits do not hold is none either.
    assert stored.tolist() == [[1, 1, 256, 0], [65533, 0, 1920, 64]]


def test_eth3d(tmp_path: Path) -> None:
    sets = [
        ("eth3d", pairs("eth3d/two_view_training/delivery_area_1l/im0")),
        ('eth3d(split="test")', pairs("eth3d/two_view_test/lakeside_1l/im0")),
    ]
    submit("eth3d", method(), sets, tmp_path / "out")
    scenes = ("delivery_area_1l", "lakeside_1l")
    assert files(tmp_path / "out") == [f"low_res_two_view/{s}.{end}" for s in scenes for end in ("pfm", "txt")]
    stored = pfm(tmp_path / "out" / "low_res_two_view" / "lakeside_1l.pfm")
    assert np.array_equal(stored, np.where(np.isnan(FOUND), np.inf, FOUND))
    word, seconds = (tmp_path / "out" / "low_res_two_view" / "lakeside_1l.txt").read_text().split()
    assert word == "runtime" and float(seconds) >= 0


def test_middlebury(tmp_path: Path) -> None:
    training, test = BENCHMARKS["middlebury"].data
    sets = [(training, pairs("middlebury/trainingQ/Adirondack/im0")), (test, pairs("middlebury/testQ/Bicycle2/im0"))]
    submit("middlebury", method(name="polstereo-nano"), sets, tmp_path / "sparse")
    assert files(tmp_path / "sparse") == [
        "testQ/Bicycle2/disp0polstereo-nano_s.pfm",
        "testQ/Bicycle2/timepolstereo-nano.txt",
        "trainingQ/Adirondack/disp0polstereo-nano_s.pfm",
        "trainingQ/Adirondack/timepolstereo-nano.txt",
    ]
    float((tmp_path / "sparse" / "testQ" / "Bicycle2" / "timepolstereo-nano.txt").read_text())
    dense = np.ones((2, 4), np.float32)
    submit("middlebury", method(dense), sets[:1], tmp_path / "dense")
    (path, _) = files(tmp_path / "dense")
    assert path == "trainingQ/Adirondack/disp0my-model-x-1.pfm" and (pfm(tmp_path / "dense" / path) == 1).all()


def test_it_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    same = pairs("kitti15/testing/image_2/000000_10", "elsewhere/000000_10")
    with pytest.raises(PolzooError, match="two pairs of kitti15 are called 'elsewhere/000000_10'"):
        submit("kitti15", method(), [('kitti15(split="testing")', same)], tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_nothing_that_a_folder_holds_is_replaced(tmp_path: Path) -> None:
    """``--out`` may be the folder of the data by mistake."""
    (tmp_path / "out").mkdir()
    sets = [('kitti15(split="testing")', pairs("kitti15/testing/image_2/000000_10"))]
    submit("kitti15", method(), sets, tmp_path / "out")
    with pytest.raises(PolzooError, match=r"out is not empty; .*: name another --out"):
        submit("kitti15", method(FOUND + 1), sets, tmp_path / "out")
    assert files(tmp_path / "out") == ["disp_0/000000_10.png"] and os.listdir(tmp_path) == ["out"]


def test_a_benchmark_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolzooError, match="unknown benchmark 'kitty15'; did you mean 'kitti15'"):
        submit("kitty15", method(), [], tmp_path / "out")
