"""``polzoo analyze`` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from polzoo.cli.app import main

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
DATA = "synthetic(seed=7001,length=3,height=64,width=96,max_disparity=16.0)"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["analyze", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (40, 112, 3), dtype=np.uint8)
    for name, picture in (("left", wide[:, :100]), ("right", wide[:, 12:112])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    return str(tmp_path / "left.png"), str(tmp_path / "right.png")


def test_a_pair_with_truth(run: Run, pair: tuple[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "truth.npy", np.full((40, 100), 12, np.float32))
    given = ("--truth", str(tmp_path / "truth.npy"), "--iterations", "3", "--thresholds", "0.25,0.1")
    code, out, err = run(TINY, *pair, *given, "--out", str(tmp_path / "new"))
    assert code == 0 and "random weights, seed 0" in out and "EPE" in out and err.count("written: ") == 2
    found = json.loads((tmp_path / "new" / "analysis.json").read_text())
    assert [curve["threshold"] for curve in found["curves"]] == [0.1, 0.25] and len(found["epe"]) == 3
    assert found["cells"] == 10 * 26, "100 pixels are padded by 14 on each side, 4 to a cell"
    drawn = cv2.imread(str(tmp_path / "new" / "analysis.png"))
    assert drawn is not None and drawn.shape[1] > 800


def test_a_data_set_as_json(run: Run) -> None:
    code, out, err = run("polstereo-nano", "--data", DATA, "--limit", "2", "--iterations", "2", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["pairs"] == 2 and found["data"] == DATA
    assert found["weights"].startswith("sha256 ") and found["iterations"] == 2


def test_a_pair_without_truth_has_no_error(run: Run, pair: tuple[str, str]) -> None:
    code, out, _ = run(TINY, *pair, "--iterations", "1", "--polarity", "none")
    assert code == 0 and "EPE" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["raft-lite"], "either LEFT and RIGHT"),
        (["raft-lite", "L"], "either LEFT and RIGHT"),
        (["raft-lite", "L", "R", "X"], "either LEFT and RIGHT"),
        (["raft-lite", "L", "R", "--data", DATA], "either LEFT and RIGHT"),
        (["raft-lite", "L", "R", "--limit", "1"], "--limit belongs to --data"),
        (["raft-lite", "--data", DATA, "--truth", "x.pfm"], "--truth belongs to LEFT and RIGHT"),
        (["raft-lite", "--data", DATA, "--polarity", "none"], "--polarity belongs to LEFT and RIGHT"),
        (["raft-lite", "--data", "synthetik"], "did you mean 'synthetic'"),
        (["raft-light", "--data", DATA], "did you mean 'raft-lite'"),
        (["raft-lite", "/nowhere/l.png", "/nowhere/r.png"], "/nowhere/l.png"),
        (["raft-lite", "--data", DATA, "--thresholds", "a"], "no numbers of pixels"),
        (["raft-lite", "--data", DATA, "--thresholds", "0"], "different positive numbers"),
        (["raft-lite", "--data", DATA, "--thresholds", "0.1,0.1"], "different positive numbers"),
        (["raft-lite", "--data", DATA, "--iterations", "0"], "--iterations"),
        (["raft-lite", "--data", DATA, "--limit", "0"], "--limit"),
        (["raft-lite", "--data", DATA, "--out", __file__], "is a file"),
        (["raft-lite", "--data", DATA, "--limit", "1", "--device", "quantum"], "cannot use device"),
    ],
    ids=lambda x: " ".join(x[1:]) if isinstance(x, list) else None,
)
def test_errors_are_one_line(run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1


def test_views_and_truth_of_other_sizes(run: Run, pair: tuple[str, str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((40, 90, 3), np.uint8))
    np.save(tmp_path / "truth.npy", np.ones((30, 100), np.float32))
    assert "100×40 and 90×40" in run(TINY, pair[0], str(tmp_path / "small.png"))[2]
    assert "100×30 pixels, which left is not" in run(TINY, *pair, "--truth", str(tmp_path / "truth.npy"))[2]
    assert "did you mean 'none'" in run(TINY, *pair, "--polarity", "nome")[2]


def test_an_error_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    assert run("raft-light", "--data", DATA, "--out", str(tmp_path / "new"))[0] == 2
    assert list(tmp_path.iterdir()) == []
