"""``polzoo predict --mosaic``: raw frames of two polarization cameras, with a tiny untrained model."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import polzoo
from polzoo.cli.app import main
from polzoo.data.polarization import as_views, read_mosaics
from polzoo.predict import predict

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)+{}"
V2C = "v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"


@pytest.fixture
def loaded(monkeypatch):
    """Every checkpoint name loads this tiny model, to which polarization matters."""

    class Loaded:
        fusion = V2C

        @classmethod
        def model(cls, *_, **__):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                made = polzoo.build(TINY.format(cls.fusion)).eval()
                for weight in made.fusion.parameters():
                    torch.nn.init.normal_(weight, std=0.3)
            return made

    monkeypatch.setattr(polzoo, "load", Loaded.model, raising=False)
    return Loaded


@pytest.fixture
def frames(tmp_path: Path) -> list[str]:
    """Raw frames with readings of 12 bits, 40 × 48."""
    rng, paths = np.random.default_rng(0), [str(tmp_path / f"{side}.png") for side in "lr"]
    for path in paths:
        assert cv2.imwrite(path, rng.integers(0, 3000, (40, 48), dtype=np.uint16))
    return paths


def run(frames: list[str], out: Path, *options: str) -> np.ndarray:
    assert main(["predict", *frames, "--out", str(out), "--iterations", "2", *options]) == 0
    return np.load(out / "l-disparity.npy")


def test_two_raw_frames_become_a_disparity(tmp_path, loaded, frames) -> None:
    for kind, bayer in (("grey", None), ("colour", "RGGB")):
        found = run(frames, tmp_path / kind, "--mosaic", kind, "--light", "30", "--exposure", "1.5", "--bits", "12")
        views = as_views(*read_mosaics(*frames, bayer=bayer, bits=12), light=30, exposure=1.5)
        np.testing.assert_array_equal(found, predict(loaded.model(), *views[:2], polarity=1, iterations=2))
        assert len(os.listdir(tmp_path / kind)) == 4


def test_polarity_says_which_camera_is_parallel(tmp_path, loaded, frames) -> None:
    found = {}
    for analysers in ("parallel-crossed", "crossed-parallel", "none"):
        found[analysers] = run(frames, tmp_path / analysers, "--mosaic", "grey", "--polarity", analysers)
        views = as_views(*read_mosaics(*frames), analysers=analysers)
        expected = predict(loaded.model(), *views[:2], polarity=analysers, iterations=2)
        np.testing.assert_array_equal(found[analysers], expected)
    default = run(frames, tmp_path / "default", "--mosaic", "grey")
    np.testing.assert_array_equal(default, found["parallel-crossed"])
    assert not any(np.array_equal(found["none"], found[other]) for other in found if other != "none")


def test_a_model_without_polarization_sees_all_light(tmp_path, loaded, frames) -> None:
    loaded.fusion = "none"
    found = run(frames, tmp_path / "out", "--mosaic", "grey")
    views = as_views(*read_mosaics(*frames), analysers="none")
    np.testing.assert_array_equal(found, predict(loaded.model(), *views[:2], iterations=2))


def test_saturation_is_warned_of(tmp_path, loaded, frames, capsys) -> None:
    frame = cv2.imread(frames[1], cv2.IMREAD_UNCHANGED)
    assert frame is not None
    frame[:, :24] = 65535
    assert cv2.imwrite(frames[1], frame)
    run(frames, tmp_path / "out", "--mosaic", "grey")
    noted = capsys.readouterr().err
    assert f"polzoo: warning: 52.1% of {frames[1]} is saturated" in noted and frames[0] not in noted
