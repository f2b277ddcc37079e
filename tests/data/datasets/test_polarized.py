"""The data set ``polarized``: mosaics and analyser angles to views and named maps, trained on and evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import polzoo
from polzoo import checkpoint
from polzoo.data.datasets.options import PolarizedOptions
from polzoo.data.datasets.polarized import Polarized
from polzoo.data.loader import collate
from polzoo.errors import PolzooError
from polzoo.evaluation.evaluate import evaluate
from polzoo.interfaces import Fusion
from polzoo.recipes.options import SupervisedOptions
from polzoo.recipes.supervised import Supervised
from polzoo.registry import temporary
from polzoo.testing import checks

HEIGHT, WIDTH, SHIFT = 64, 96, 4
ANGLES = (0, 45, 90, 135)


def stokes(number: int, dolp: float) -> np.ndarray:
    """(3, H, W): a scene of S0 = 0.6 … 1.2 whose S1 and S2 are ``dolp`` · S0 at 30°; the right view is moved by 4."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.random((8, 12)).astype(np.float32)).resize(
        (WIDTH + SHIFT, HEIGHT), Image.Resampling.BICUBIC
    )
    total = 0.6 + 0.6 * np.clip(np.asarray(coarse), 0, 1)
    return np.stack([total, dolp * total * np.cos(np.pi / 3), dolp * total * np.sin(np.pi / 3)])


def behind(scene: np.ndarray, angle: float) -> np.ndarray:
    """I(θ) = ½(S0 + S1·cos 2θ + S2·sin 2θ), in 16 bit."""
    turn = np.deg2rad(2 * angle)
    return np.rint(65535 * 0.5 * (scene[0] + scene[1] * np.cos(turn) + scene[2] * np.sin(turn))).astype(np.uint16)


def sides(number: int, dolp: float) -> dict[str, np.ndarray]:
    scene = stokes(number, dolp)
    return {"left": scene[..., :WIDTH], "right": scene[..., SHIFT:]}


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Three scenes of different polarization, as pictures for four angles and as raw mosaics (90 45 / 135 0)."""
    made = {kind: tmp_path_factory.mktemp(kind) for kind in ("angles", "mosaic")}
    for number, dolp in enumerate((0.1, 0.3, 0.5)):
        for side, scene in sides(number, dolp).items():
            raw = np.zeros((HEIGHT, WIDTH), np.uint16)
            for angle, (row, column) in zip((90, 45, 135, 0), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
                picture = behind(scene, angle)
                raw[row::2, column::2] = picture[row::2, column::2]
                place = made["angles"] / f"{side}_{angle}" / f"{number}.png"
                place.parent.mkdir(exist_ok=True)
                Image.fromarray(picture).save(place)
            (made["mosaic"] / side).mkdir(exist_ok=True)
            Image.fromarray(raw).save(made["mosaic"] / side / f"{number}.png")
        for root in made.values():
            (root / "disparity").mkdir(exist_ok=True)
            np.save(root / "disparity" / f"{number}.npy", np.full((HEIGHT, WIDTH), float(SHIFT)))
    return made


def opened(path: Path, record: str, **options) -> Polarized:
    return Polarized(PolarizedOptions(path=str(path), record=record, **options))  # pyright: ignore[reportArgumentType]


def test_angles_give_the_scene_back(roots) -> None:
    data = opened(roots["angles"], "angles", maps="stokes,dolp,aolp", gamma="linear", light=30)
    assert len(data) == 3
    sample, scene = data[1], sides(1, 0.3)
    for side in ("left", "right"):
        np.testing.assert_allclose(sample.polarization[f"stokes_{side}"], scene[side], atol=1e-4)
        np.testing.assert_allclose(sample.polarization[f"dolp_{side}"], 0.3, atol=1e-3)
        np.testing.assert_allclose(sample.polarization[f"aolp_{side}"], np.pi / 6, atol=1e-3)
    assert sample.polarity == 1 and sample.polarization["dolp_left"].shape == (1, HEIGHT, WIDTH)
    np.testing.assert_allclose(sample.left[0], 0.65 * scene["left"][0], atol=1e-4)  # I(30°) = ½·S0·(1 + DoLP)
    np.testing.assert_allclose(sample.right[0], 0.35 * scene["right"][0], atol=1e-4)


def test_mosaics_agree_with_angles_where_they_read(roots) -> None:
    mosaics, angles = (opened(roots[kind], kind, maps="dolp") for kind in ("mosaic", "angles"))
    for index in range(3):
        one, other = mosaics[index], angles[index]
        assert np.abs(one.left - other.left).mean() < 0.01
        assert np.abs(one.polarization["dolp_right"] - other.polarization["dolp_right"]).mean() < 0.02


@pytest.mark.parametrize("record", ["mosaic", "angles"])
def test_contract(roots, record) -> None:
    for check in checks(
        "dataset", "polarized", options={"path": str(roots[record]), "record": record, "maps": "stokes"}
    ):
        check()


def test_a_list_of_angles(roots) -> None:
    root = roots["angles"]
    columns = [f"{side}_{angle}" for side in ("left", "right") for angle in ANGLES]
    rows = [",".join([*(f"{column}/{i}.png" for column in columns), f"disparity/{i}.npy"]) for i in range(3)]
    (root / "pairs.csv").write_text("\n".join([",".join([*columns, "disparity"]), *rows]))
    listed, found = (opened(path, "angles", maps="stokes")[2] for path in (root / "pairs.csv", root))
    np.testing.assert_allclose(listed.polarization["stokes_left"], found.polarization["stokes_left"], atol=1e-6)
    assert listed.disparity is not None


def test_mistakes(roots, tmp_path) -> None:
    with pytest.raises(PolzooError, match="has no folders left_0/"):
        opened(roots["mosaic"], "angles")
    with pytest.raises(PolzooError, match="has no pictures in left/"):
        opened(roots["angles"], "mosaic")
    with pytest.raises(PolzooError, match="did you mean 'dolp_left'"):
        opened(roots["mosaic"], "mosaic", maps="dollp")[0]
    (tmp_path / "pairs.csv").write_text("left_0,right_0\n")
    with pytest.raises(PolzooError, match="lists no pair"):
        opened(tmp_path / "pairs.csv", "angles")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    (tmp_path / "pairs.csv").write_text("left_0,left_45,right_0\na.png,a.png,a.png\n")
    with pytest.raises(PolzooError, match=r"row 2: .*angles"):
        opened(tmp_path / "pairs.csv", "angles")[0]
    (tmp_path / "pairs.csv").write_text("left,right\na.png,a.png\n")
    with pytest.raises(PolzooError, match="unknown column 'left'"):
        opened(tmp_path / "pairs.csv", "angles")
    with pytest.raises(PolzooError, match=r"a raw mosaic must have 1 channel"):
        opened(tmp_path / "pairs.csv", "mosaic")[0]


def test_the_control_lends_another_scene_s_maps(roots) -> None:
    plain, shuffled = (
        opened(roots["angles"], "angles", maps="stokes,dolp", analysers="none", control=control)
        for control in ("none", "shuffled")
    )
    for index in range(3):
        one, own, lent = shuffled[index], plain[index], plain[(index + 1) % 3]
        np.testing.assert_array_equal(one.left, own.left)
        assert one.polarity == 0 and one.polarization.keys() == own.polarization.keys()
        for name, values in one.polarization.items():
            np.testing.assert_array_equal(values, lent.polarization[name])
        np.testing.assert_array_equal(one.intensity_left, lent.left)


# ── all the way to a strategy that declares maps ──────────────────────────────────────────────────────────────────────


class Weighed(Fusion):
    """Matching costs weighed by the left view's mean DoLP: what it saw is in its ``seen``."""

    needs = "dolp,stokes"

    def __init__(self, options, host) -> None:
        super().__init__(options, host)
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: list[dict[str, torch.Tensor]] = []

    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost * (1 + self.weight * pol)

    def encode(self, call, encoding):
        self.seen.append(call.pair.polarization)
        return call.pair.polarization["dolp_left"].mean()


TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)+weighed"


def test_named_maps_reach_a_strategy_in_training_and_evaluation(roots, tmp_path) -> None:
    with temporary("fusion", "weighed", Weighed):
        torch.manual_seed(0)
        model = polzoo.build(TINY)
        data, lent, other = (
            opened(roots["angles"], "angles", maps=maps, control=control)
            for maps, control in (("dolp,stokes", "none"), ("dolp,stokes", "shuffled"), ("dolp", "none"))
        )
        batch = collate([data[0], data[1]])
        assert batch["dolp_left"].shape == (2, 1, HEIGHT, WIDTH) and batch["stokes_right"].shape == (
            2,
            3,
            HEIGHT,
            WIDTH,
        )
        recipe = Supervised(SupervisedOptions(), model)
        recipe(batch)["loss"].backward()
        grad = model.fusion.weight.grad
        assert grad is not None and grad != 0
        assert isinstance(model.fusion, Weighed)
        torch.testing.assert_close(model.fusion.seen[-1]["dolp_left"], batch["dolp_left"])
        with pytest.raises(PolzooError, match="reads stokes_left, stokes_right"):
            recipe(collate([other[0]]))
        with pytest.raises(PolzooError, match="the same polarization maps"):
            collate([data[0], other[0]])
        checkpoint.save(model, tmp_path / "ck")
        figures = [
            evaluate([f"dir:{tmp_path / 'ck'}"], one, limit=2)["methods"][0]["each"]["epe"] for one in (data, lent)
        ]
        assert figures[0] != figures[1]
    plain = polzoo.build(TINY.replace("weighed", "none"))
    Supervised(SupervisedOptions(), plain)(batch)  # a strategy without maps leaves them
    checkpoint.save(plain, tmp_path / "plain")
    evaluate([f"dir:{tmp_path / 'plain'}"], data, limit=1)
