"""The data set ``folder``: layouts, every mistake in a CSV, and the scales of the real pairs by warping."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from polzoo.data.files import write_bytes
from polzoo.data.folder import Folder
from polzoo.data.formats import encode_mask, write_disparity, write_image
from polzoo.data.options import FolderOptions
from polzoo.errors import PolzooError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path) -> Path:
    """Two pairs, ``a`` and ``b``, with everything that is known."""
    rng = np.random.default_rng(0)
    for stem in "ab":
        for side in ("left", "right"):
            write_image(tmp_path / side / f"{stem}.png", rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        truth = rng.uniform(1, 9, (20, 30)).astype(np.float32)
        truth[0, 0] = np.inf
        write_disparity(tmp_path / "disparity" / f"{stem}.pfm", truth)
        for kind in ("valid", "visible", "glass"):
            write_bytes(tmp_path / kind / f"{stem}.png", encode_mask(rng.random((20, 30)) > 0.5))
    return tmp_path


def opened(path, **options) -> Folder:
    return Folder(FolderOptions(path=str(path), **options))


def refused(path, *words: str) -> None:
    with pytest.raises(PolzooError) as error:
        opened(path)[0]
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def test_a_scale_of_0_is_refused_before_any_file_is_read(layout) -> None:
    from polzoo.spec import make_part

    with pytest.raises(PolzooError, match="dataset 'folder': scale divides stored disparities, so it must not be 0"):
        make_part("dataset", "folder", {"path": str(layout), "scale": 0})


def test_a_folder(layout) -> None:
    (layout / "left" / ".DS_Store").touch()
    (layout / "left" / "notes.txt").touch()
    data = opened(layout, analysers="crossed-parallel")
    assert len(data) == 2 and [data[i].name for i in range(2)] == ["a", "b"]
    sample = data[0]
    assert sample.left.shape == (3, 20, 30) and sample.left.dtype == np.float32 and sample.polarity == -1
    assert sample.disparity is not None and sample.valid is not None
    assert sample.glass is not None and sample.visible is not None
    assert sample.disparity.shape == (1, 20, 30) and np.isfinite(sample.disparity).all()
    assert not sample.valid[0, 0, 0] and sample.valid.dtype == sample.glass.dtype == sample.visible.dtype == bool
    with pytest.raises(IndexError):
        data[2]


def test_views_alone_are_enough(layout) -> None:
    for kind in ("disparity", "visible", "glass"):
        for file in (layout / kind).iterdir():
            file.unlink()
        (layout / kind).rmdir()
    sample = opened(layout)[0]
    assert sample.disparity is sample.valid is sample.visible is sample.glass is None


def test_mistakes_in_a_folder(layout) -> None:
    (layout / "right" / "b.png").rename(layout / "right" / "bb.png")
    refused(layout, "right", "no file named b.*", "did you mean 'bb'?")
    (layout / "right" / "bb.png").rename(layout / "right" / "b.png")
    (layout / "left" / "a.png").rename(layout / "left" / "x.png")
    (layout / "left" / "b.png").unlink()
    refused(layout, "no file named x.*")
    (layout / "left" / "x.png").rename(layout / "left" / "a.png")
    refused(layout, "left has no file named b.*")
    write_image(layout / "left" / "a.bmp", np.zeros((20, 30, 3), np.uint8))
    refused(layout, "both a.bmp and a.png")
    refused(layout / "right", "no pictures in left/")
    refused(layout / "rigth", "no such file", "did you mean 'right'?")


def test_a_csv(layout) -> None:
    header = "left,right,disparity,scale,offset,valid,visible,glass,polarity,name\n"
    rows = "left/a.png,right/a.png,disparity/a.pfm,2,0.5,valid/a.png,visible/a.png,glass/a.png,parallel-crossed,first\n"
    (layout / "pairs.csv").write_text(f"\ufeff{header}{rows}\nleft/b.png, right/b.png,,,,,,,,\n", encoding="utf-8")
    data, plain = opened(layout / "pairs.csv"), opened(layout)[0]
    assert len(data) == 2
    assert data[0].name == "first" and data[0].polarity == 1 and data[1].polarity == 0 and data[1].disparity is None
    known = plain.valid
    assert data[0].disparity is not None and plain.disparity is not None and known is not None
    np.testing.assert_allclose(data[0].disparity[known], plain.disparity[known] / 2 + 0.5)
    np.testing.assert_array_equal(data[0].valid, known)
    assert data[1].name == "left/b.png"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("left,right\nleft/a.png,right/c.png\n", ["row 2, right", "did you mean"]),
        ("left,rigth\nleft/a.png,right/a.png\n", ["row 1", "did you mean 'right'?"]),
        ("left,disparity\nleft/a.png,disparity/a.pfm\n", ["row 1", "left and right"]),
        ("left,left,right\na,b,c\n", ["once"]),
        ("left,right\n", ["lists no pair"]),
        ("left,right\nleft/a.png\n", ["row 2", "1 cells"]),
        ("left,right\nleft/a.png,\n", ["row 2", "no right"]),
        ("left,right,scale\nleft/a.png,right/a.png,0\n", ["row 2", "scale"]),
        ("left,right,offset\nleft/a.png,right/a.png,x\n", ["row 2", "offset"]),
        ("left,right,polarity\nleft/a.png,right/a.png,paralel\n", ["row 2", "polarity", "parallel-crossed"]),
        ("left,right,disparity,scale\nleft/a.png,right/a.png,disparity/a.pfm,-1\n", ["row 2", "a.pfm is negative"]),
        ("left,right,disparity,scale\nleft/a.png,right/a.png,disparity/a.pfm,.01\n", ["row 2", "what is its scale"]),
        ("left,right,glass\nleft/a.png,right/a.png,left/a.png\n", ["row 2", "mask"]),
        ("left,right\nleft/a.png,right\n", ["row 2", "right"]),
        ('left,right\n"left/a.png,right/a.png\n', ["CSV"]),
        ("left,right\nleft\0/a.png,right/a.png\n", ["row 2", "NUL"]),
        ("left,right,name\nleft/a.png,right/a.png,a\0b\n", ["row 2", "NUL"]),
        ("left,right\0\nleft/a.png,right/a.png\n", ["row 1", "column"]),
    ],
)
def test_mistakes_in_a_csv(layout, text, words) -> None:
    (layout / "pairs.csv").write_text(text)
    refused(layout / "pairs.csv", *words)


def test_sizes_must_match(layout) -> None:
    write_image(layout / "right" / "a.png", np.zeros((20, 31, 3), np.uint8))
    refused(layout, "a.png (right) is 31×20", "left", "30×20", "pair 'a'")


def test_a_picture_is_no_csv(layout) -> None:
    refused(layout / "left" / "a.png", "neither a folder nor a CSV")


RESIDUALS = {"teddy": 4.0, "wood2": 1.8, "motorcycle": 3.5, "aloe": 4.3, "sceneflow": 0.65}
"""Median absolute difference after warping by the truth, grey levels, as the data's own README has it."""


def residual(sample, factor: float = 1.0) -> float:
    """Median over known pixels of |left − right warped by ``factor`` × disparity|, mean of channels, grey levels."""
    left, right = (np.ascontiguousarray(view.transpose(1, 2, 0)) * 255 for view in (sample.left, sample.right))
    y, x = np.indices(left.shape[:2]).astype(np.float32)
    at = (x - factor * sample.disparity[0]).astype(np.float32)
    error = np.abs(left - cv2.remap(right, at, np.array(y), cv2.INTER_LINEAR)).mean(-1)
    return float(np.median(error[sample.valid[0] & (at >= 0) & (at <= x.max())]))


def test_every_scale_and_sign_of_the_real_pairs(shared, tmp_path) -> None:
    write = runpy.run_path(str(ROOT / "benchmarks" / "real_pairs.py"))["write_manifest"]
    data = opened(write(shared / "data", tmp_path / "real_pairs.csv"))
    assert [data.rows[i].name for i in range(len(data))] == list(RESIDUALS)
    for i in range(len(data)):
        sample = data[i]
        right = residual(sample)
        assert right == pytest.approx(RESIDUALS[sample.name], rel=0.03, abs=0.05), sample.name
        for factor in (-1, 0, 0.5, 0.9, 1.1, 2):
            assert residual(sample, factor) > 1.2 * right, (sample.name, factor)
    aloe = next(data[i] for i in range(5) if data.rows[i].name == "aloe")
    assert aloe.disparity is not None
    assert set(np.unique(aloe.disparity[aloe.valid] % 1)) == {0.5}
    known = {data[i].name: data[i].visible for i in range(5)}
    shares = {name: mask.mean() for name, mask in known.items() if mask is not None}
    assert shares.keys() == {"motorcycle", "sceneflow"}
    assert 0.7 < shares["motorcycle"] < 0.95 and 0.8 < shares["sceneflow"] < 0.99
