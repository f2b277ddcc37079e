"""``polzoo predict`` and ``polzoo demo`` from the outside, with a tiny untrained model in place of the shipped one."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import polzoo
from polzoo.cli.app import main
from polzoo.cli.demo import bundled_pair
from polzoo.data.formats import read_disparity, read_image, write_image
from polzoo.errors import PolzooError
from polzoo.visualize import view

ROOT = Path(__file__).resolve().parents[2]
TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)+{fusion}"
V2C = "v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"


@pytest.fixture
def loaded(monkeypatch):
    """Every checkpoint name loads a tiny model; ``loaded.fusion`` is what it fuses with."""

    class Loaded:
        fusion, names = V2C, []

    def load(name, **options):
        if name == "missing":
            raise PolzooError("unknown checkpoint 'missing'")
        Loaded.names.append((name, options))
        torch.manual_seed(0)
        return polzoo.build(TINY.format(fusion=Loaded.fusion)).eval()

    monkeypatch.setattr(polzoo, "load", load, raising=False)
    return Loaded


@pytest.fixture
def pair(tmp_path) -> list[str]:
    rng = np.random.default_rng(0)
    return [str(write_image(tmp_path / f"{s}.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))) for s in "lr"]


def test_predict_writes_four_files_that_agree(tmp_path, loaded, pair, capsys) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["predict", *pair, "--out", str(out), "--polarity", "none", "--iterations", "2"]) == 0
    printed, noted = capsys.readouterr()
    names = ["l-disparity-colour.png", "l-disparity.npy", "l-disparity.pfm", "l-disparity.png"]
    assert sorted(os.listdir(out)) == names
    assert sorted(printed.split()) == [str(out / name) for name in names]
    assert "polstereo-nano: 50×40 in" in noted and loaded.names == [("polstereo-nano", {"fuse": True, "device": "cpu"})]
    array = np.load(out / "l-disparity.npy")
    assert array.shape == (40, 50) and array.dtype == np.float32
    np.testing.assert_array_equal(read_disparity(out / "l-disparity.pfm")[0], array)
    stored, known = read_disparity(out / "l-disparity.png")
    np.testing.assert_allclose(stored[known], np.maximum(array[known], 1 / 256), atol=1 / 512)
    assert read_image(out / "l-disparity-colour.png").shape == (40, 50, 3)
    assert ("have no value in the 16-bit PNG" in noted) == (not known.all())
    loaded.names.clear()


def test_predict_warns_about_the_pair(tmp_path, loaded, pair, capsys) -> None:
    assert main(["predict", pair[0], pair[0], "--out", str(tmp_path / "out"), "--iterations", "1"]) == 0
    assert "polzoo: warning: left and right are the same picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--model", "missing"], "unknown checkpoint"),
        (["--polarity", "paralel-crossed"], "did you mean 'parallel-crossed'?"),
        (["--iterations", "0"], "--iterations"),
        (["--out", "FILE"], "is a file"),
        (["--out", "FILE/deeper"], "is a file"),
    ],
)
def test_nothing_is_written_when_an_option_is_wrong(tmp_path, loaded, pair, capsys, change, words, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    before = sorted(os.listdir(tmp_path))
    assert main(["predict", *pair, *change]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("bad", ["missing.png", "grey.png", "small.png", "cut.png", "."])
def test_nothing_is_written_when_a_view_is_wrong(tmp_path, loaded, pair, capsys, bad, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (50, 40)).save("grey.png")
    Image.new("RGB", (49, 40)).save("small.png")
    Path("cut.png").write_bytes(Path(pair[0]).read_bytes()[:-40])
    before = sorted(os.listdir())
    assert main(["predict", pair[0], bad]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("polzoo: error: ")
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(("fusion", "gate"), [(V2C, True), ("none", False)])
def test_demo_draws_one_sheet(tmp_path, loaded, capsys, fusion, gate) -> None:
    loaded.fusion = fusion
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    first, second = capsys.readouterr().out.strip().split("\n")
    assert first == str(tmp_path / "out" / "demo.png") and os.listdir(tmp_path / "out") == ["demo.png"]
    assert "EPE" in second and "bad-3" in second and " s" in second
    found = read_image(first)
    assert found.shape[0] > 2 * 256 and found.shape[1] > 4 * 320


def test_the_demo_pair_is_the_generators_and_small() -> None:
    pair, script = bundled_pair(), runpy.run_path(str(ROOT / "benchmarks" / "make_demo_pair.py"))
    assert script["SEED"] >= 10_000_000
    assert sum(file.stat().st_size for file in script["TARGET"].iterdir()) <= 400_000
    assert pair.valid is not None and pair.glass is not None and pair.disparity is not None
    assert pair.valid.all() and 0.05 < pair.glass.mean() < 0.6
    made = script["sample"]()
    np.testing.assert_array_equal(view(pair.left), view(made.left))
    np.testing.assert_array_equal(pair.glass, made.glass)
    np.testing.assert_allclose(pair.disparity, np.float32(made.disparity), atol=1 / 500)
