"""Every published data set: its layout, its numbers against files that other programs wrote, and its errors."""

from __future__ import annotations

import gc
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.spec import make_part
from polzoo.testing import checks
from polzoo.zoo import instantiate

ROOTS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("roots.py"))))
KNOWN, SEEN, ALL = ROOTS.KNOWN, ROOTS.SEEN, np.ones_like(ROOTS.KNOWN)

SETS = {
    "sceneflow": ALL, "kitti12": KNOWN, "kitti15": KNOWN, "middlebury03": KNOWN, "middlebury05": KNOWN,
    "middlebury06": KNOWN, "middlebury14": KNOWN, "middlebury": KNOWN, "eth3d": KNOWN,
    "sintel": SEEN, "fallingthings": KNOWN, "tartanair": ALL, "crestereo": KNOWN, "instereo2k": KNOWN,
    "drivingstereo": KNOWN, "fsd": ALL, "bts": ALL,
}  # fmt: skip
"""Data set → where its truth is known in the tiny roots."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Callable[[str], Path]:
    """A tiny root of a data set by name, made once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            getattr(ROOTS, name)(made[name])
        return made[name]

    return make


def opened(name: str, root: Path, **options):
    return instantiate("dataset", make_part("dataset", name, {"root": str(root), **options}))


def truth(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    assert sample.disparity is not None and sample.valid is not None
    return sample.disparity[0], sample.valid[0]


@pytest.mark.parametrize("name", SETS)
def test_numbers(root, name) -> None:
    """8 px wherever the truth is known, from files whose numbers were worked out by hand; both views as stored."""
    sample = opened(name, root(name))[0]
    disparity, valid = truth(sample)
    known = SETS[name].copy()
    if name == "fallingthings":
        known[1, 1] = False  # the end of the range
    np.testing.assert_array_equal(valid, known)
    close = 0.008 if name == "sintel" else 2e-4 if name == "fallingthings" else 1e-6
    np.testing.assert_allclose(disparity[known], 8, rtol=0, atol=close)
    lossy = name in ("fallingthings", "crestereo", "drivingstereo", "fsd")
    grey = ROOTS.LEFT.mean(-1, keepdims=True) if name == "eth3d" else ROOTS.LEFT
    difference = np.abs(sample.left - grey.transpose(2, 0, 1) / 255)
    assert difference.mean() < 0.08 if lossy or name == "eth3d" else difference.max() < 1e-6
    assert sample.polarity == 0 and (name in sample.name or name == "bts")


@pytest.mark.parametrize("name", SETS)
def test_contract(root, name) -> None:
    """What polzoo.testing demands of any data set; its rule "sign" finds exchanged views and truth upside down."""
    for check in checks("dataset", name, options={"root": str(root(name))}):
        check()


TORCHVISION = {
    "kitti12": ("Kitti2012Stereo", "Kitti2012", {}),
    "kitti15": ("Kitti2015Stereo", "Kitti2015", {}),
    "eth3d": ("ETH3DStereo", "ETH3D", {}),
    "sintel": ("SintelStereo", "Sintel", {}),
    "fallingthings": ("FallingThingsStereo", "FallingThings", {"variant": "both"}),
    "crestereo": ("CREStereo", "CREStereo", {}),
    "sceneflow": ("SceneFlowStereo", "SceneFlow", {"variant": "Monkaa", "pass_name": "final"}),
}
"""Data set → its reader in torchvision, the folder that one wants, its options. InStereo2k is left out: torchvision
divides by 1024 where the set's owners say 100."""


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_torchvision_reads_the_same(root, tmp_path, name) -> None:
    """On the pixels known to both. KITTI 2012 in torchvision takes disp_noc, the pixels not occluded."""
    pytest.importorskip("torchvision")
    from torchvision import datasets

    reader, folder, options = TORCHVISION[name]
    os.symlink(root(name), tmp_path / folder)
    theirs = getattr(datasets, reader)(tmp_path, **options)
    ours = opened(name, root(name), **({"scenes": "monkaa"} if name == "sceneflow" else {}))
    assert len(ours) == len(theirs) or name == "kitti15"  # whose 11th frames have no truth
    with np.errstate(divide="ignore"):  # a depth of 0
        left, right, expected = theirs[0][:3]
    sample = ours[0]
    disparity, valid = truth(sample)
    both = valid & np.isfinite(expected[0]) & (expected[0] > 0)
    assert both.mean() > 0.9
    np.testing.assert_allclose(disparity[both], expected[0][both], rtol=1e-6)
    for view, picture in ((sample.left, left), (sample.right, right)):
        lossy = 2 if ours.root.joinpath(ours.lefts[0]).suffix == ".jpg" else 1e-3
        np.testing.assert_allclose(view.transpose(1, 2, 0) * 255, np.asarray(picture.convert("RGB")), atol=lossy)
    del theirs, left, right, picture
    gc.collect()  # torchvision closes no file


# ── what else a set says ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["kitti12", "kitti15", "middlebury", "eth3d", "sintel"])
def test_who_is_seen_by_the_right_view_too(root, name) -> None:
    sample = opened(name, root(name))[0]
    assert sample.visible is not None
    np.testing.assert_array_equal(sample.visible[0], SEEN)


def test_objects_of_kitti_15(root) -> None:
    data = opened("kitti15", root("kitti15"))
    first, second = data[0].objects, data[1].objects
    assert first is not None and first.dtype == np.uint8 and second is None
    assert first[0, 5, 20] == 2 and first.sum() == 2 * 4 * 40


def test_what_leaves_the_frame_in_sintel(root) -> None:
    data, kept = (opened("sintel", root("sintel"), occluded=occluded) for occluded in (False, True))
    outside = data[0].outside
    assert outside is not None and outside[0, :, :8].all() and not outside[0, :, 8:].any()
    assert truth(kept[0])[1].all() and not truth(data[0])[1].all()


def test_sintel_to_the_last_bit(root, tmp_path) -> None:
    """sintel_io.py's own formula in float64, on random bytes."""
    ROOTS.sintel(tmp_path)
    packed = np.random.default_rng(0).integers(1, 100, (24, 450, 3), dtype=np.uint8)
    ROOTS.png(tmp_path / "training/disparities/alley_1/frame_0001.png", packed, np.uint8)
    r, g, b = np.moveaxis(packed.astype(np.float64), -1, 0)
    found, _ = truth(opened("sintel", tmp_path, occluded=True)[0])
    np.testing.assert_array_equal(found, r * 4 + g / 2**6 + b / 2**14)


def test_what_is_infinitely_far_in_sintel_has_no_truth(tmp_path) -> None:
    ROOTS.sintel(tmp_path)
    packed = np.zeros((24, 450, 3), np.uint8)
    packed[:, 200:] = 2, 0, 0
    ROOTS.png(tmp_path / "training/disparities/alley_1/frame_0001.png", packed, np.uint8)
    _, valid = truth(opened("sintel", tmp_path, occluded=True)[0])
    assert valid[:, 200:].all() and not valid[:, :200].any()


def test_a_negative_number_of_scene_flow_is_its_magnitude(tmp_path) -> None:
    ROOTS.sceneflow(tmp_path)
    for path in (tmp_path / "Monkaa/disparity").rglob("left/*.pfm"):
        ROOTS.pfm(path, -ROOTS.EIGHT)
    assert (truth(opened("sceneflow", tmp_path, scenes="monkaa")[0])[0] == 8).all()


def test_fsd_against_the_set_s_own_formula(tmp_path) -> None:
    ROOTS.fsd(tmp_path)
    packed = np.random.default_rng(0).integers(0, 256, (24, 450, 3), dtype=np.uint8)
    packed[..., 0] //= 60  # keeps the median below the width
    path = next(tmp_path.glob("*/dataset/data/left/disparity/0000.png"))
    ROOTS.png(path, packed, np.uint8)
    r, g, b = np.moveaxis(packed.astype(np.float64), -1, 0)
    np.testing.assert_allclose(truth(opened("fsd", tmp_path)[0])[0], (r * 255 * 255 + g * 255 + b) / 1000, rtol=1e-6)
    assert len(opened("fsd", tmp_path / "manipulation_v5_realistic_kitchen_2500_1")) == 1


CAMERAS = {
    "middlebury": (999.421, 294.182, 252.932, 0.193001, 32.778),
    "eth3d": (999.421, 294.182, 252.932, 0.193001, 32.778),
    "kitti15": (721.5377, 609.5593, 172.854, (44.85728 + 339.5242) / 721.5377, 0),
    "kitti12": (707.0912, 601.8873, 183.1104, (45 + 334.1) / 707.0912, 0),
    "fallingthings": (768.16058349609375, 480, 270, 0.06, 0),
    "tartanair": (320, 320, 240, 0.25, 0),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_cameras(root, name) -> None:
    camera = opened(name, root(name))[0].camera
    assert camera is not None
    np.testing.assert_allclose(camera, CAMERAS[name], rtol=1e-6)


def test_doffs_of_kitti_is_how_much_further_right_the_right_camera_s_centre_lies(tmp_path) -> None:
    ROOTS.kitti15(tmp_path)
    path = tmp_path / "training/calib_cam_to_cam/000000.txt"
    path.write_text(path.read_text().replace("P_rect_03: 721.5377 0 609.5593", "P_rect_03: 721.5377 0 611.5593"))
    camera = opened("kitti15", tmp_path)[0].camera
    assert camera is not None and camera.doffs == pytest.approx(2)


@pytest.mark.parametrize(("name", "depth"), [("tartanair", 10.0), ("fallingthings", 5.7612)])
def test_depth_comes_back(root, name, depth) -> None:
    """Z = f·B/(d + doffs), the depth that the file holds, in metres."""
    sample = opened(name, root(name))[0]
    assert sample.camera is not None
    disparity, valid = truth(sample)
    c = sample.camera
    np.testing.assert_allclose(c.focal * c.baseline / (disparity[valid] + c.doffs), depth, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("sceneflow", {}, 6),
        ("sceneflow", {"render": "both"}, 12),
        ("sceneflow", {"scenes": "driving", "render": "clean"}, 2),
        ("sceneflow", {"split": "test"}, 2),
        ("sceneflow", {"split": "test", "take": "used"}, 1),
        ("sceneflow", {"split": "test", "take": "raft-400"}, 2),
        ("kitti15", {}, 2),
        ("kitti15", {"split": "testing"}, 2),
        ("kitti12", {"colour": False}, 1),
        ("middlebury05", {}, 1),
        ("middlebury05", {"illumination": 3, "exposure": 0}, 1),
        ("middlebury14", {"rectification": "imperfect", "right": "exposure"}, 1),
        ("middlebury", {"split": "test"}, 1),
        ("eth3d", {"split": "test"}, 1),
        ("sintel", {"render": "both"}, 2),
        ("fallingthings", {}, 2),
        ("fallingthings", {"scenes": "mixed"}, 1),
        ("tartanair", {}, 2),
        ("tartanair", {"level": "hard"}, 1),
        ("tartanair", {"environment": "office"}, 1),
        ("crestereo", {"scenes": "tree"}, 1),
        ("instereo2k", {"split": "test"}, 1),
        ("drivingstereo", {}, 4),
        ("drivingstereo", {"size": "full"}, 4),
        ("drivingstereo", {"scenes": "foggy"}, 1),
        ("drivingstereo", {"scenes": "train"}, 1),
        ("drivingstereo", {"scenes": "test", "size": "full"}, 1),
    ],
)
def test_splits_and_subsets(root, name, options, count) -> None:
    data = opened(name, root(name), **options)
    assert len(data) == count
    sample = data[count - 1]
    if options.get("split") in ("testing", "test") and name not in ("sceneflow", "instereo2k"):
        assert sample.disparity is sample.valid is None
    else:
        disparity, valid = truth(sample)
        np.testing.assert_allclose(disparity[valid], 8, atol=0.01)


def test_used_are_the_frames_that_the_owners_list_leaves(root) -> None:
    """The list names TEST/A/0000/left/0007.png."""
    assert opened("sceneflow", root("sceneflow"), split="test", take="used").lefts == [
        "FlyingThings3D/frames_finalpass/TEST/A/0000/left/0006.png"
    ]


def test_raft_stereo_s_400_frames(tmp_path, monkeypatch) -> None:
    """The indices of the published code, with the generator's state that it sets: numpy.random.seed(1000)."""
    from polzoo.data.datasets import sceneflow

    np.random.seed(1000)
    expected = set(np.random.permutation(4370)[:400])
    found = sceneflow._raft([f"{i:04d}" for i in range(4370)])
    assert found == sorted(found) and {int(name) for name in found} == expected


def test_an_image_with_an_alpha_channel_that_says_nothing(root, tmp_path) -> None:
    """Scene Flow's samples have one; a transparent pixel is refused."""
    from PIL import Image

    ROOTS.middlebury03(tmp_path)
    with_alpha = np.dstack([ROOTS.LEFT, np.full(ROOTS.LEFT.shape[:2], 255, np.uint8)])
    Image.fromarray(with_alpha).save(tmp_path / "teddy/im2.png")
    data = opened("middlebury03", tmp_path)
    np.testing.assert_allclose(data[0].left * 255, ROOTS.LEFT.transpose(2, 0, 1), atol=1e-4)
    with_alpha[3, 3, 3] = 254
    Image.fromarray(with_alpha).save(tmp_path / "teddy/im2.png")
    with pytest.raises(PolzooError, match=r"im2\.png has 4 channels"):
        data[0]


# ── the real ones that there are, by warping ──────────────────────────────────────────────────────────────────────────


REAL = {
    "middlebury03": ("", "mid2003_teddy", {}, 4.0),
    "middlebury06": ("", "mid2006_Wood2", {}, 1.8),
    "middlebury": ("trainingQ", "mid2014Q_Motorcycle", {}, 3.5),
    "sceneflow": ("", "sceneflow_A-0032-0006", {"scenes": "flyingthings3d"}, 0.65),
}
"""Data set → where the pair goes, its folder in the shared data, options, grey levels of its README after warping."""


@pytest.mark.parametrize("name", REAL)
def test_real_pairs(shared, tmp_path, name) -> None:
    place, folder, options, level = REAL[name]
    source = shared / "data" / folder
    if name == "sceneflow":
        for file, target in (("rgb_left.png", "frames_finalpass/TRAIN/A/0032/left/0006.png"),
                             ("rgb_right.png", "frames_finalpass/TRAIN/A/0032/right/0006.png"),
                             ("disp_left.pfm", "disparity/TRAIN/A/0032/left/0006.pfm")):  # fmt: skip
            (tmp_path / "FlyingThings3D" / target).parent.mkdir(parents=True)
            os.symlink(source / file, tmp_path / "FlyingThings3D" / target)
    else:
        (tmp_path / place).mkdir(exist_ok=True)
        os.symlink(source, tmp_path / place / folder)
    data = opened(name, tmp_path, **options)
    sample = data[0]
    assert len(data) == 1
    residual = runpy.run_path(str(Path(__file__).parents[1] / "test_folder.py"))["residual"]
    assert residual(sample) == pytest.approx(level, rel=0.03, abs=0.05)
    assert (sample.camera is None) == (name != "middlebury")


# ── what is not there, or not as published ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("exists", [False, True])
def test_a_missing_root_says_what_to_put_there(tmp_path, name, exists) -> None:
    place = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(PolzooError) as error:
        opened(name, place)
    text = str(error.value)
    assert str(place) in text and "http" in text and "*" in text and "\n" not in text
    assert ("is no folder" in text) == (not exists or name == "bts")


def test_files_that_are_not_there(root, tmp_path) -> None:
    ROOTS.kitti15(tmp_path)
    (tmp_path / "training/image_3/000001_10.png").unlink()
    data = opened("kitti15", tmp_path)
    assert data[0].name == "kitti15/training/image_2/000000_10"
    with pytest.raises(PolzooError, match=r"no such file: .*image_3/000001_10\.png; did you mean"):
        data[1]
    (tmp_path / "training/image_3/000000_10.png").unlink()
    with pytest.raises(PolzooError, match=r"kitti15: no such file: .*image_3/000000_10\.png.*https://"):
        opened("kitti15", tmp_path)
    with pytest.raises(PolzooError, match="monkaa has no test split"):
        opened("sceneflow", tmp_path, scenes="monkaa", split="test")
    with pytest.raises(PolzooError, match='take="used" needs the owners\' list'):
        ROOTS.sceneflow(tmp_path / "sf")
        (tmp_path / "sf/FlyingThings3D/all_unused_files.txt").unlink()
        opened("sceneflow", tmp_path / "sf", split="test", take="used")


def test_a_size_that_was_never_published_has_no_scale(tmp_path) -> None:
    ROOTS.middlebury03(tmp_path)
    ROOTS.png(tmp_path / "teddy/disp2.png", np.full((24, 500), 32), np.uint8)
    with pytest.raises(PolzooError, match=r"disp2\.png is 500 pixels wide.*quarter 450, half 900, full 1800"):
        opened("middlebury03", tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "files", "width", "scale"),
    [
        *(("middlebury03", ("im2", "im6", "disp2"), *found) for found in ((450, 4), (900, 2), (1800, 1))),
        *(
            (name, ("view1", "view5", "disp1"), *found)
            for name in ("middlebury05", "middlebury06")
            for found in ((413, 3), (450, 3), (620, 2), (698, 2), (1240, 1), (1396, 1))
        ),
    ],
)
def test_the_scale_follows_the_width(tmp_path, name, files, width, scale) -> None:
    from PIL import Image

    (tmp_path / "scene").mkdir()
    for file in files[:2]:
        Image.new("RGB", (width, 5)).save(tmp_path / f"scene/{file}.png")
    ROOTS.png(tmp_path / f"scene/{files[2]}.png", np.full((5, width), 60), np.uint8)
    assert truth(opened(name, tmp_path)[0])[0][0, 0] == 60 / scale
