"""Lists of one's own pairs: TOML as CSV, the further columns, and every mistake in a TOML file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polzoo.data.folder import Folder
from polzoo.data.manifest import angle_of
from polzoo.data.options import FolderOptions
from polzoo.errors import PolzooError

SIZE = 20, 30


@pytest.fixture
def files(tmp_path) -> Path:
    """One pair with everything that is known, written by Pillow and numpy."""
    rng = np.random.default_rng(0)
    for name in ("l.png", "r.png"):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(tmp_path / name)
    np.save(tmp_path / "d.npy", np.full(SIZE, 6.0))
    for name in ("valid.png", "visible.png", "outside.png", "glass.png"):
        Image.fromarray(np.uint8(255) * (rng.random(SIZE) > 0.5).astype(np.uint8)).save(tmp_path / name)
    Image.fromarray(rng.integers(0, 3, SIZE, dtype=np.uint8)).save(tmp_path / "objects.png")
    (tmp_path / "calib.txt").write_text("cam0=[100 0 15; 0 100 10; 0 0 1]\ndoffs=2\nbaseline=50\n")
    return tmp_path


def opened(path: Path) -> Folder:
    return Folder(FolderOptions(path=str(path)))


FULL = """
[[pair]]
name = "first"
left = "l.png"
right = "r.png"
disparity = "d.npy"
scale = 2
offset = 0.5
mask = "valid.png"
visible = "visible.png"
outside = "outside.png"
glass = "glass.png"
objects = "objects.png"
calib = "calib.txt"
polarity = "crossed-parallel"

[[pair]]
left = "r.png"
right = "l.png"
"""


def test_toml_says_what_csv_says(files) -> None:
    (files / "pairs.toml").write_text(FULL)
    (files / "pairs.csv").write_text(
        "left,right,disparity,scale,offset,valid,visible,outside,glass,objects,calib,polarity,name\n"
        "l.png,r.png,d.npy,2,0.5,valid.png,visible.png,outside.png,glass.png,objects.png,calib.txt,crossed-parallel,first\n"
        "r.png,l.png,,,,,,,,,,,\n"
    )
    toml, table = opened(files / "pairs.toml"), opened(files / "pairs.csv")
    assert len(toml) == len(table) == 2
    for index in (0, 1):
        one, other = toml[index], table[index]
        assert (one.name, one.polarity, one.camera) == (other.name, other.polarity, other.camera)
        for kind in ("left", "right", "disparity", "valid", "visible", "outside", "glass", "objects"):
            np.testing.assert_array_equal(getattr(one, kind), getattr(other, kind))
    first = toml[0]
    assert first.disparity is not None and first.valid is not None and first.camera is not None
    assert (first.disparity == 3.5).all() and first.polarity == -1 and first.camera == (100, 15, 10, 0.05, 2)
    np.testing.assert_array_equal(first.valid[0], np.asarray(Image.open(files / "valid.png")) > 0)
    assert first.objects is not None and first.outside is not None
    np.testing.assert_array_equal(first.objects[0], np.asarray(Image.open(files / "objects.png")))


def test_the_same_in_a_folder(files) -> None:
    root = files / "set"
    for kind in ("left", "right", "disparity", "outside", "objects"):
        (root / kind).mkdir(parents=True)
    for kind, name in (("left", "l.png"), ("right", "r.png"), ("disparity", "d.npy"), ("outside", "outside.png"),
                       ("objects", "objects.png")):  # fmt: skip
        (files / name).rename(root / kind / f"a{Path(name).suffix}")
    (files / "calib.txt").rename(root / "calib.txt")
    sample = opened(root)[0]
    assert sample.camera is not None and sample.camera.baseline == 0.05
    assert sample.objects is not None and sample.outside is not None and sample.glass is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# nothing", ["lists no pair"]),
        ("[[pair]]\nleft = 'l.png'", ["pair 1", "names no right view"]),
        ("[[pair]]\nleft = 'l.png'\nright = 'rr.png'", ["pair 1, right", "did you mean"]),
        ("[[pair]]\nleft = 'l.png'\nright = 'r.png'\ndisparty = 'd.npy'", ["pair 1", "did you mean 'disparity'?"]),
        ("[[pairs]]\nleft = 'l.png'", ["unknown key 'pairs'", "did you mean 'pair'?"]),
        ("pair = 3", ["[[pair]]"]),
        ("pair = ['l.png', 'r.png']", ["[[pair]]"]),
        ("[[pair]]\nleft = ['l.png']\nright = 'r.png'", ["pair 1", "left must be a text or a number"]),
        ("[[pair]]\nleft = 'l.png'\nright = 'r.png'\nscale = 0", ["pair 1", "other than 0"]),
        ("[[pair]]\nleft = 'l.png'\nright = 'r.png'\nscale = nan", ["pair 1", "scale"]),
        ("[[pair]]\nleft = 'l.png'\nright = 'r.png'\nscale = true", ["pair 1", "scale"]),
        ("[[pair]]\nleft = 'l.png'\nright = 'r.png'\nvalid = 'valid.png'\nmask = 'valid.png'", ["another name"]),
        ("[[pair]]\nleft_0 = 'l.png'\nright_0 = 'r.png'", ["unknown column 'left_0'"]),
        ("[[pair", ["not valid TOML"]),
        ('[[pair]]\nleft = "l\\u0000.png"\nright = "r.png"', ["NUL"]),
    ],
)
def test_mistakes_in_a_toml_file(files, text, words) -> None:
    (files / "pairs.toml").write_text(text)
    with pytest.raises(PolzooError) as error:
        opened(files / "pairs.toml")[0]
    assert "\n" not in str(error.value)
    for word in (str(files / "pairs.toml"), *words):
        assert word in str(error.value), str(error.value)


def test_angles_in_names() -> None:
    assert angle_of("left_45") == ("left", 45) and angle_of("right_22.5") == ("right", 22.5)
    for text in ("left", "left_", "left_a", "up_45", "left_-45", "left_nan", "left_1e3", "left_45_", "left_4.5.1"):
        assert angle_of(text) is None
