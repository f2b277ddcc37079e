"""``polzoo explain`` from the outside: two files, or one line and nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import polzoo
from polzoo.checkpoint import save
from polzoo.cli.app import main
from polzoo.cli.explain import MOST, draw
from polzoo.data.formats import read_image, write_disparity, write_image
from polzoo.explain import explain
from polzoo.settings import Settings
from polzoo.visualize import sheet

SMALL = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
FUSIONS = {
    "none": "none",
    "v2c": "v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)",
    "crossattn": "crossattn(pol_width=4,pol_dim=4,attention_dim=4,heads=2)",
    "film": "film(hidden=4)",
}
DEMO = Path(polzoo.__file__).parent / "assets" / "demo"


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kitchen")
    for name, fusion in FUSIONS.items():
        torch.manual_seed(0)
        save(polzoo.build(f"{SMALL}+{fusion}", Settings(iterations=2)).eval(), root / name)
    left, right = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    write_image(root / "left.png", left)
    write_image(root / "right.png", right)
    write_disparity(root / "truth.pfm", np.full((40, 50), 2, np.float32))
    write_disparity(root / "small.pfm", np.full((40, 49), 2, np.float32))
    write_disparity(root / "unknown.pfm", np.full((40, 50), np.inf, np.float32))
    return root


@pytest.fixture
def folder(kitchen, monkeypatch) -> Path:
    monkeypatch.chdir(kitchen)
    return kitchen


@pytest.fixture
def sheets(monkeypatch) -> list[tuple[list[str], str]]:
    """(captions, title) of every sheet that is drawn."""
    drawn = []

    def spy(panels, columns, title):
        drawn.append(([caption for caption, _ in panels if caption], title))
        return sheet(panels, columns, title)

    monkeypatch.setattr("polzoo.visualize.sheet", spy)
    return drawn


def run(folder: Path, tmp_path: Path, model: str, *options: str) -> int:
    return main(["explain", "left.png", "right.png", "--model", f"dir:{model}", "--out", f"{tmp_path}/out", *options])


@pytest.mark.parametrize(
    ("model", "options", "shown", "absent"),
    [
        ("v2c", [], ["gate", "residual", "change"], ["attention", "error"]),
        ("v2c", ["--truth", "truth.pfm", "--polarity", "none"], ["truth", "error, EPE"], ["attention"]),
        ("crossattn", [], ["attention, averaged", "attention of point 4", "gate"], ["residual"]),
        ("crossattn", ["--point", "9,8", "--point", "0,0"], ["attention of point 2"], ["attention of point 3"]),
        ("film", [], ["contrast"], ["gate"]),
        ("none", ["--iterations", "9"], ["step 1", "step 9", "change"], ["step 2,", "gate"]),
    ],
)
def test_one_picture_and_one_npz(folder, tmp_path, capsys, sheets, model, options, shown, absent) -> None:
    assert run(folder, tmp_path, model, *options) == 0
    picture, arrays = capsys.readouterr().out.split()
    assert sorted(os.listdir(tmp_path / "out")) == ["left-explained.npz", "left-explained.png"]
    assert read_image(picture).shape[1] > 900
    with np.load(arrays) as file:
        assert file["disparity"].shape == (40, 50)
    ((captions, title),) = sheets
    assert all(any(caption.startswith(word) for caption in captions) for word in shown), captions
    assert not any(caption.startswith(word) for caption in captions for word in absent), captions
    assert ("records nothing" in title) == (model == "none") and ("alpha 0.00669" in title) == (model == "crossattn")
    assert len([caption for caption in captions if caption.startswith("step")]) == (MOST if model == "none" else 2)
    assert all(mark.isascii() for caption in (*captions, title) for mark in caption)  # the font has no other letters


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--point", "9"], "'9' is not X,Y"),
        (["--point", "9,8,7"], "'9,8,7' is not X,Y"),
        (["--point", "x,y"], "such as 120,64"),
        (["--point", "50,8"], "outside the left view, which is 50×40"),
        (["--model", "dir:v2c", "--point", "5,5"], "the fusion 'v2c' has no attention"),
        (["--truth", "small.pfm"], "49×40 pixels, left is 50×40"),
        (["--truth", "unknown.pfm"], "unknown.pfm has no valid disparity"),
        (["--truth", "trut.pfm"], "did you mean 'truth.pfm'?"),
        (["--polarity", "paralel"], "'parallel-crossed'"),
        (["--iterations", "0"], "--iterations"),
        (["--model", "nobody"], "'nobody'"),
        (["--out", "left.png"], "is a file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, tmp_path, capsys, options, words) -> None:
    before = sorted(os.listdir(folder))
    assert run(folder, tmp_path, "crossattn", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("polzoo: error: ") and words in error, error
    assert not (tmp_path / "out").exists() and sorted(os.listdir(folder)) == before


def test_the_bundled_pair_with_the_shipped_model(tmp_path, sheets) -> None:
    truth = ["--truth", str(DEMO / "disparity.png"), "--out", str(tmp_path)]
    assert main(["explain", str(DEMO / "left.png"), str(DEMO / "right.png"), *truth]) == 0
    ((captions, _),) = sheets
    assert [caption for caption in captions if caption.startswith("step")][-1] == "step 6, alpha 1.00"
    with np.load(tmp_path / "left-explained.npz") as file:
        assert file["steps.residual"][0].max() == 0 < file["steps.residual"][-1].mean()


def test_a_diverged_model_is_drawn_all_the_same(folder) -> None:
    model = polzoo.load("dir:v2c")
    torch.nn.init.constant_(next(model.update.parameters()), torch.nan)
    views = [read_image(f"{side}.png") for side in ("left", "right")]
    found = explain(model, *views)
    assert np.isnan(found.disparity).all()
    assert draw(found, *(view.transpose(2, 0, 1) for view in views)).shape[2] == 3
