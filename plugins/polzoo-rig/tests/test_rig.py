"""A rig that is known exactly: rows, angles, disparities and the files that come of it."""

import json
import pickle

import cv2
import numpy as np
import pytest
from polzoo_rig.calibration import read_calibration
from polzoo_rig.rectify import Rectification, row_error

from polzoo.cli.app import main
from polzoo.data.folder import Folder
from polzoo.data.options import FolderOptions
from polzoo.data.stokes import from_mosaic
from polzoo.errors import PolzooError
from polzoo.spec import make_part
from polzoo.testing import checks
from polzoo.zoo import instantiate

from . import rigs

DISTANCE = 0.9


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """A folder of one pair of raw frames, and the calibration."""
    root = tmp_path_factory.mktemp("rig")
    matrices, turns = rigs.matrices()
    for side, name in ((1, "left"), (2, "right")):
        (root / "raw" / name).mkdir(parents=True)
        cv2.imwrite(str(root / "raw" / name / "board.png"), rigs.record(matrices, turns, side, DISTANCE))
    rigs.write(root / "rig.yaml", matrices)
    return root


def corners(view):
    found, places = cv2.findChessboardCornersSB(view, (rigs.COLUMNS, rigs.ROWS), flags=cv2.CALIB_CB_ACCURACY)
    assert found
    return places.reshape(-1, 2)


def grey(stokes):
    return np.clip(255 * stokes.values[0, 0] / 2, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def views(rig):
    raw = [from_mosaic(cv2.imread(str(rig / "raw" / side / "board.png"), -1)) for side in ("left", "right")]
    rectification = Rectification(read_calibration(rig / "rig.yaml"), rigs.SIZE)
    return raw, rectification(*raw), rectification


def test_rows_agree_after_rectification(views):
    raw, rectified, _ = views
    before, after = (
        np.sqrt(np.mean((corners(grey(pair[0]))[:, 1] - corners(grey(pair[1]))[:, 1]) ** 2))
        for pair in (raw, rectified)
    )
    assert before > 5 and after < 0.1


def test_disparity_is_the_depth_of_the_plane(views):
    _, rectified, rectification = views
    left, right = (corners(grey(view)) for view in rectified)
    camera = rectification.camera
    rays = np.c_[(left - (camera.cx, camera.cy)) / camera.focal, np.ones(len(left))]
    depth = camera.focal * camera.baseline / (left - right)[:, 0]
    points = rays * depth[:, None]
    flat = points - points.mean(0)
    assert np.abs(flat @ np.linalg.svd(flat)[2][2]).max() < 0.004  # metres off their plane
    side = np.linalg.norm(np.diff(points.reshape(rigs.ROWS, rigs.COLUMNS, 3), axis=1), axis=-1)
    assert np.abs(side - rigs.SQUARE).max() < 0.001


def test_angles_turn_with_the_views(views):
    raw, rectified, _ = views
    inside = np.s_[0, 150:330, 200:440]
    seen = [np.rad2deg(np.median(view.maps()["aolp"][inside])) for view in (*raw, *rectified)]
    assert abs(seen[0] - seen[1]) == pytest.approx(6, abs=0.3)  # the cameras' rolls
    assert abs(seen[2] - seen[3]) < 0.3
    assert np.median(rectified[0].maps()["dolp"][inside]) == pytest.approx(rigs.DOLP, abs=0.01)


def test_row_error_says_what_is_wrong():
    texture = (np.random.default_rng(0).random((60, 80)) * 255).astype(np.uint8)
    view = cv2.resize(texture, (640, 480), interpolation=cv2.INTER_CUBIC)
    moved = cv2.warpAffine(view, np.float32([[1, 0, -20], [0, 1, 3]]), (640, 480))
    error, number = row_error(view, moved)
    assert number > 50 and error == pytest.approx(3, abs=0.2)
    assert row_error(np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8))[1] == 0


@pytest.mark.parametrize("check", checks("metric", "seen-through"))
def test_the_metric_keeps_the_contract(check):
    check()


@pytest.mark.parametrize("number", range(len(checks("dataset", "rig"))))
def test_the_data_set_keeps_the_contract(rig, number):
    options = {"path": str(rig / "raw"), "calibration": str(rig / "rig.yaml"), "maps": "dolp,aolp"}
    checks("dataset", "rig", options=options)[number]()


def test_samples_are_linear_light_through_two_analysers(rig, views):
    options = {"path": str(rig / "raw"), "calibration": str(rig / "rig.yaml"), "maps": "stokes", "light": rigs.AOLP}
    dataset = instantiate("dataset", make_part("dataset", "rig", options))
    sample = pickle.loads(pickle.dumps(dataset))[0]
    assert sample.polarity == 1 and sample.camera == views[2].camera
    inside = np.s_[:, 200:280, 250:390]
    assert sample.left[inside].mean() > 1.15 * sample.right[inside].mean()  # the parallel camera sees more
    assert np.array_equal(sample.polarization["stokes_left"], views[1][0].maps()["stokes"])


def test_seen_through_counts_what_is_behind_alone():
    metric = instantiate("metric", make_part("metric", "seen-through", {"threshold": 2.0}))
    truth, region = np.full((1, 5), 10.0, np.float32), np.ones((1, 5), bool)
    predicted = np.array([[10, 7, 8.5, 20, np.nan]], np.float32)
    assert metric(predicted, truth, region) == (1.0, 5) and metric.label == "seen-through-2"


def test_rectify_writes_what_folder_reads(rig, tmp_path, capsys):
    out = tmp_path / "pairs"
    arguments = ["rig", "rectify", str(rig / "rig.yaml"), str(rig / "raw"), "--out", str(out), "--light", "30"]
    assert main(arguments) == 0 and f"{out}: 1 pairs" in capsys.readouterr().out
    (sample,) = (Folder(FolderOptions(path=str(out), analysers="parallel-crossed"))[i] for i in range(1))
    assert sample.left.shape == (3, *rigs.SIZE) and sample.camera.baseline == pytest.approx(0.12, abs=1e-3)
    assert main(arguments) == 2 and "is there already" in capsys.readouterr().err


def test_check_says_how_good_the_calibration_is(rig, capsys):
    assert main(["rig", "check", str(rig / "rig.yaml"), str(rig / "raw")]) == 0
    assert capsys.readouterr().out.startswith("board  0.")


def json_of(matrices, **changes):
    return json.dumps({name: np.asarray(value).tolist() for name, value in {**matrices, **changes}.items()})


def test_json_is_read_as_yaml_is(rig, tmp_path):
    file = tmp_path / "rig.json"
    file.write_text(json_of(rigs.matrices()[0]))
    for one, other in zip(read_calibration(file), read_calibration(rig / "rig.yaml"), strict=True):
        assert np.allclose(one, other)
    assert np.allclose(read_calibration(file, "mm").move * 1000, read_calibration(file).move)


BAD = {
    "no calibration": ("\x00\x01", "is no calibration"),
    "empty object": ("{}", "has no K1 or M1 or cameraMatrix1"),
    "words": (json_of(rigs.matrices()[0], K1=[["a"]]), "K1 must be 3×3 numbers"),
    "three coefficients": (json_of(rigs.matrices()[0], D2=[0, 0, 0]), "D2 must be 4, 5, 8, 12 or 14 numbers"),
    "no rotation": (json_of(rigs.matrices()[0], R=2 * np.eye(3)), "R is no rotation"),
    "no focal length": (json_of(rigs.matrices()[0], K2=np.zeros((3, 3))), "must be above 0"),
    "not finite": (json_of(rigs.matrices()[0], T=[np.nan, 0, 0]), "T must be 3×1 numbers"),
    "deep": ("{" * 5000, "is no calibration"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_calibration_is_one_line(case, tmp_path):
    text, words = BAD[case]
    file = tmp_path / "rig.json"
    file.write_text(text)
    with pytest.raises(PolzooError, match=r"\S") as raised:
        read_calibration(file)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_cameras_the_wrong_way_round_are_named():
    matrices, _ = rigs.matrices()
    exchanged = {**matrices, "T": -matrices["T"]}
    rig = read_calibration_of(exchanged)
    with pytest.raises(PolzooError, match="exchange the cameras"):
        Rectification(rig, rigs.SIZE)


def read_calibration_of(matrices):
    from polzoo_rig.calibration import Calibration

    names = {"left": "K1", "left_lens": "D1", "right": "K2", "right_lens": "D2", "turn": "R", "move": "T"}
    return Calibration(**{part: matrices[name] for part, name in names.items()})


def test_frames_of_another_size_are_refused(views):
    raw, _, rectification = views
    smaller = type(raw[0])(raw[0].values[..., :-2])
    with pytest.raises(PolzooError, match="638×480 pixels, the rectification is for 640×480"):
        rectification(smaller, raw[1])
