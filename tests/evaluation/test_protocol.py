"""Protocols: frozen files, what each demands of its data, and their averages by hand."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation.evaluate import evaluate, open_protocol
from polzoo.evaluation.protocol import Protocol, digest, find, names, read
from polzoo.evaluation.regions import REGIONS
from polzoo.registry import registry
from polzoo.spec import parse_part

FROZEN = {
    ("drivingstereo-weather", 1): "9c89b124266098b7d84f988316ae4f7bc8653bed122d8eeafd7d3f689a2802ac",
    ("eth3d-two-view", 1): "cfce35e9606fe369c9e0acba360849728514ed45f0e316dd21de855b46ab4c59",
    ("kitti12-train", 1): "ac0010e887ad62387ebe6e78b78c5a234cd9cf63b9e87d3c5e8fac4b55b8c626",
    ("kitti15-train", 1): "bfd8bacd27bec716cc7cd392ce582fd5119ce895a9bbfbf05ed02f323db3b8ee",
    ("middlebury-h", 1): "7d9fa2bc96dfc379505a529f1a0a489b986151296d94cf3c6a052dc7e4f99b0f",
    ("middlebury-q", 1): "499d0c2c82e647cf52e70e980cbb6be9a35f92fda062e221e2e1aa296a71f12e",
    ("real-pairs", 1): "6c0be4226ebb4e8647d0ee40a45b65b01306c9332171bcfee5e5fa029f4a37a4",
    ("sceneflow-test", 1): "474022ee6e8c8904c8e8fcf0378fab16a109e550016485471a366d7b03a8cd50",
    ("synthetic-v1-rgb", 1): "ec598342451a42008c6556806be5ce053be46eaeccd4753e632a0c69adf6e3e6",
    ("synthetic-v1", 1): "55e5fdc10bdbda1247d09afdfb363eed8f78bae7f2732aceb9df36f9e307059f",
}
"""(name, version) → sha256 of the file. A published line never changes: a change is a new version with its own line."""


class Twelve:
    """A method that says 12 everywhere and nothing in the first column."""

    def __init__(self, options: object) -> None:
        pass

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        found = np.full(left.shape[1:], 12, np.float32)
        found[:, 0] = np.nan
        return found


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    with registry().temporary("baseline", "twelve", Twelve):
        yield


@pytest.mark.parametrize("name", names())
def test_a_published_protocol_never_changes(name: str) -> None:
    protocol = read(find(name))
    assert protocol.name == name
    assert digest(name) == FROZEN[name, protocol.version], "publish the change as the next version, with a line above"


@pytest.mark.parametrize("name", names())
def test_it_names_things_that_there_are(name: str) -> None:
    protocol = read(find(name))
    entry = registry().find("dataset", parse_part_name(protocol.data))
    assert entry is not None and ("root" in entry.options().model_fields) == protocol.root
    assert {protocol.mask, *(protocol.regions or ())} <= set(REGIONS)
    labels = [registry().get("metric", (part := parse_part("metric", text)).name).load()(part.options).label
              for text in protocol.metrics]  # fmt: skip
    assert len(set(labels)) == len(labels)
    assert protocol.about and protocol.source and "\n" not in protocol.about + protocol.source


def parse_part_name(text: str) -> str:
    return text.partition("(")[0]


@pytest.mark.parametrize("name", [name for name in names() if read(find(name)).root])
def test_its_data_take_a_root(name: str, tmp_path: Path) -> None:
    """Every option of the spec is one that the data set has: the complaint is of the empty folder alone."""
    with pytest.raises(PolzooError, match=str(tmp_path)) as caught:
        open_protocol(name, str(tmp_path))
    assert "option" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(PolzooError, match=f"protocol {name!r} needs --data ROOT"):
        open_protocol(name)


def test_a_protocol_without_files_takes_no_root() -> None:
    with pytest.raises(PolzooError, match="takes no --data"):
        open_protocol("synthetic-v1", "/data")
    with pytest.raises(PolzooError, match="did you mean 'synthetic-v1'"):
        open_protocol("synthetic-v2")


def test_synthetic_v1_are_the_scenes_that_are_set_apart() -> None:
    protocol, pairs = open_protocol("synthetic-v1")
    assert len(pairs) == 100 and protocol.data == "synthetic(seed=9001,length=100)"
    assert pairs[0].left.shape == (3, 256, 320) and pairs[0].name == "synthetic/seed9001/000000"
    assert open_protocol("synthetic-v1-rgb")[1][0].polarity == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 3", "name Input should be a valid string, not 3"),
        ("crop = [0, 0, 0, -1]", r"crop.3 Input should be greater than or equal to 0, not -1"),
        ("avreaging = 'pixels'", "avreaging Extra inputs"),
        ("averaging = 'both'", "'pixels' or 'pairs'"),
        ("name =", "cannot be read as a protocol"),
        ("mask = 'glass'\nregions = ['all']", "mask 'glass' is none of its regions"),
    ],
)
def test_files_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(PolzooError, match=words) as caught:
        read(tmp_path / "one.toml")
    assert str(tmp_path) in str(caught.value)


# --------------------------------------------------------------------------------------------- rules, by hand


def pair(name: str, truth: list[float], visible: list[int] | None = None, objects: list[int] | None = None) -> Sample:
    picture, shape = np.full((3, 1, len(truth)), 0.5, np.float32), (1, 1, len(truth))
    seen = None if visible is None else np.array(visible, bool).reshape(shape)
    cars = None if objects is None else np.array(objects, np.uint8).reshape(shape)
    disparity = np.array(truth, np.float32).reshape(shape)
    return Sample(picture, picture, disparity=disparity, visible=seen, objects=cars, name=name)


def figure(result: dict, region: str, metric: str, average: str) -> float:
    return result["methods"][0]["regions"][region][metric][average]


# Predicted: nothing in the first column (KITTI fills it with 12), 12 in the others.
ONE = pair("kitti15/training/image_2/000000_10", [12, 12, 16, 40], [1, 1, 1, 0], [0, 0, 3, 3])
TWO = pair("kitti15/training/image_2/000001_10", [30, 12.5], [1, 1], [0, 7])


def test_kitti_2015_counts_over_all_images() -> None:
    """Outliers: 16 and 40 of the first image's four pixels, 30 of the second's two."""
    rules = read(find("kitti15-train"))
    result = evaluate(["twelve"], [ONE, TWO], protocol=rules, data=rules.data)
    assert figure(result, "all", "d1", "pixels") == pytest.approx(100 * 3 / 6)
    assert figure(result, "background", "d1", "pixels") == pytest.approx(100 * 1 / 3)
    assert figure(result, "foreground", "d1", "pixels") == pytest.approx(100 * 2 / 3)
    assert figure(result, "visible", "d1", "pixels") == pytest.approx(100 * 2 / 5)
    assert list(result["regions"]) == ["all", "visible", "foreground", "background"]


def test_kitti_2012_averages_the_images_percentages() -> None:
    rules = read(find("kitti12-train"))
    result = evaluate(["twelve"], [ONE, TWO], protocol=rules, data=rules.data)
    assert figure(result, "visible", "bad-3", "pairs") == pytest.approx((100 / 3 + 50) / 2)
    assert figure(result, "all", "bad-3", "pairs") == pytest.approx((50 + 50) / 2)
    assert figure(result, "all", "epe", "pairs") == pytest.approx(((4 + 28) / 4 + (18 + 0.5) / 2) / 2)


def test_eth3d_leaves_pixels_without_estimate_out() -> None:
    rules = read(find("eth3d-two-view"))
    wide = pair("eth3d/two_view_training/a/im0", [12, 12.6, 13.5, 12] + [12] * 11, [1] * 15)
    result = evaluate(["twelve"], [wide], protocol=rules, data=rules.data)
    assert figure(result, "visible", "bad-1", "pairs") == pytest.approx(100 / 14)
    assert figure(result, "visible", "bad-0.5", "pairs") == pytest.approx(100 * 2 / 14)
    assert figure(result, "visible", "density", "pairs") == pytest.approx(100 * 14 / 15)
    assert figure(result, "visible", "rmse", "pairs") == pytest.approx(np.sqrt((0.6**2 + 1.5**2) / 14), rel=1e-6)
    assert figure(result, "visible", "A95", "pairs") == pytest.approx(1.5)
    assert figure(result, "visible", "A90", "pairs") == pytest.approx(0.6, rel=1e-6)
    assert result["methods"][0]["regions"]["visible"]["A95"]["pixels"] is None


def test_middlebury_weighs_its_pairs() -> None:
    rules = read(find("middlebury-q"))
    full, half = ("middlebury/trainingQ/Teddy/im0", "MiddEval3/trainingQ/PianoL/im0")
    pairs = [pair(full, [12, 15, 12], [1] * 3), pair(half, [12, 12, 12], [1] * 3)]
    result = evaluate(["twelve"], pairs, protocol=rules, data=rules.data)
    assert figure(result, "visible", "bad-2", "pairs") == pytest.approx((200 / 3 + 0.5 * 100 / 3) / 1.5)
    assert rules.weight("middlebury/trainingQ/Piano/im0") == 1 and sum(map(rules.weight, SCENES)) == 12.5


SCENES = "Adirondack ArtL Jadeplant Motorcycle MotorcycleE Piano PianoL Pipes Playroom Playtable PlaytableP Recycle"
SCENES = [*SCENES.split(), "Shelves", "Teddy", "Vintage"]


def test_scene_flow_below_192_pixels_and_per_image() -> None:
    rules = read(find("sceneflow-test"))
    pairs = [pair("a", [12, 13, 192, 300]), pair("b", [12, 15])]
    result = evaluate(["twelve"], pairs, protocol=rules, data=rules.data)
    assert figure(result, "all", "epe", "pairs") == pytest.approx((1 + 3) / 2)
    assert result["methods"][0]["regions"]["all"]["epe"]["pixel_count"] == 2


# ------------------------------------------------------------------------------------ files as they are published


def test_kitti_2015_from_its_files(tmp_path: Path) -> None:
    """One pair with the PNGs of another library: 16 bit, 256 · d, 0 unknown; the object map has a car, number 4."""
    occ, cars = np.zeros((2, 90), np.float32), np.zeros((2, 90), np.uint8)
    occ[:, :4], cars[0, 2:4] = [[12, 12, 20, 30], [0, 15.5, 12, 60]], 4
    noc = np.where(occ == 30, 0, occ)
    maps = {"image_2": np.zeros((2, 90, 3), np.uint8), "image_3": np.zeros((2, 90, 3), np.uint8), "obj_map": cars}
    maps |= {"disp_occ_0": (256 * occ).astype(np.uint16), "disp_noc_0": (256 * noc).astype(np.uint16)}
    for kind, values in maps.items():
        (tmp_path / "training" / kind).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "training" / kind / "000000_10.png")
    rules, pairs = open_protocol("kitti15-train", str(tmp_path))
    result = evaluate(["twelve"], pairs, protocol=rules, data=rules.data)
    assert result["data"] == {"spec": "kitti15", "pairs": 1, "of": 1, "names": ["kitti15/training/image_2/000000_10"]}
    for region, outliers, known in (("all", 4, 7), ("visible", 3, 6), ("foreground", 2, 2), ("background", 2, 5)):
        assert figure(result, region, "d1", "pixels") == pytest.approx(100 * outliers / known), region


def test_middlebury_from_its_files(tmp_path: Path) -> None:
    """Two scenes with PFM of bytes written by hand, bottom row first; the mask is 128 where occluded."""
    for scene, far in (("Adirondack", 12.0), ("PianoL", 15.0)):
        folder = tmp_path / "trainingQ" / scene
        folder.mkdir(parents=True)
        for view in ("im0.png", "im1.png"):
            Image.fromarray(np.zeros((2, 40, 3), np.uint8)).save(folder / view)
        Image.fromarray(np.array([[255, 255, 128] + [0] * 37, [255] * 40], np.uint8)).save(folder / "mask0nocc.png")
        unknown = [math.inf] * 37
        rows = struct.pack("<80f", 12, 12, far, *unknown, 12, math.inf, 99, *unknown)
        (folder / "disp0GT.pfm").write_bytes(b"Pf\n40 2\n-1\n" + rows)
        (folder / "calib.txt").write_text(CALIB)
    rules, pairs = open_protocol("middlebury-q", str(tmp_path))
    result = evaluate(["twelve"], pairs, protocol=rules, data=rules.data)
    # The first column has no estimate and is bad; the 99 is occluded. Of 4 visible pixels 2 are bad, and in PianoL 3.
    assert figure(result, "visible", "bad-2", "pairs") == pytest.approx((50 + 0.5 * 75) / 1.5)
    assert figure(result, "all", "bad-2", "pairs") == pytest.approx((60 + 0.5 * 80) / 1.5)


CALIB = """cam0=[700 0 1.5; 0 700 1; 0 0 1]
cam1=[700 0 1.5; 0 700 1; 0 0 1]
doffs=0
baseline=100
width=40
height=2
ndisp=64
"""


def test_a_region_that_the_data_lack_is_an_error() -> None:
    rules = read(find("kitti15-train"))
    with pytest.raises(PolzooError, match="'a' has no region 'visible', which protocol 'kitti15-train' needs"):
        evaluate(["twelve"], [pair("a", [12, 13])], protocol=rules)


def test_a_result_says_all_of_its_protocol() -> None:
    rules = read(find("kitti15-train"))
    found = evaluate(["twelve"], [ONE], protocol=rules)["protocol"]
    assert found["name"] == "kitti15-train" and found["version"] == 1 and found["sha256"] == digest("kitti15-train")
    assert found["crop"] == [0, 0, 0, 0] and found["mask"] == "all" and found["estimates"] == "kitti"
    changed = evaluate(["twelve"], [ONE], protocol=rules.model_copy(update={"max_disparity": 9.0}))["protocol"]
    assert changed["sha256"] is None, "it is not what was published"


def test_own_iterations_are_not_to_be_overruled() -> None:
    with pytest.raises(PolzooError, match="its own number of iterations"):
        evaluate(["twelve"], [ONE], protocol=Protocol(name="mine", iterations="own"), iterations=3)
