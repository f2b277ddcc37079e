"""``polzoo eval`` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from polzoo.cli.app import main

DATA = "synthetic(seed=7001,length=3,height=64,width=96,max_disparity=16.0)"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["eval", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_a_table_with_the_methods_side_by_side(run: Run) -> None:
    code, out, err = run("sgbm", "sgbm-filled(block_size=3)", "--data", DATA, "--limit", "2")
    assert (code, err) == (0, "")
    assert out.startswith(f"{DATA}: 2 pairs")
    assert out.splitlines()[2].split() == ["sgbm", "sgbm-filled(block_size=3)"]


def test_json_and_the_file_are_the_same(run: Run, tmp_path: Path) -> None:
    code, out, err = run("sgbm", "--data", DATA, "--limit", "1", "--json", "--out", str(tmp_path / "new" / "folder"))
    path = tmp_path / "new" / "folder" / "eval.json"
    assert code == 0 and json.loads(out) == json.loads(path.read_text()) and str(path) in err
    (only,) = json.loads(out)["evaluations"]
    assert only["data"]["spec"] == DATA and only["data"]["pairs"] == 1


def test_several_data_sets_in_one_file(run: Run) -> None:
    other = DATA.replace("length=", "length=1")
    code, out, _ = run("sgbm", "--data", DATA, "--data", other, "--limit", "1", "--json")
    assert code == 0 and [e["data"]["spec"] for e in json.loads(out)["evaluations"]] == [DATA, other]


def test_a_further_metric(run: Run) -> None:
    code, out, _ = run("sgbm", "--data", DATA, "--limit", "1", "--metric", "bad(threshold=0.5)")
    assert code == 0 and "bad-0.5 [%]" in out


def test_a_folder_of_pairs(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (40, 180, 3), dtype=np.uint8)
    for kind, picture in (("left", wide[:, :160]), ("right", wide[:, 12:172])):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "one.png"), picture)
    (tmp_path / "disparity").mkdir()
    np.save(tmp_path / "disparity" / "one.npy", np.full((40, 160), 12, np.float32))
    code, out, err = run("sgbm-filled", "--data", str(tmp_path), "--json")
    assert code == 0, err
    assert json.loads(out)["evaluations"][0]["methods"][0]["regions"]["all"]["bad-1"]["pixels"] < 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sgmb", "--data", DATA], "did you mean 'sgbm'"),
        (["sgbm", "--data", "synthetik"], "did you mean 'synthetic'"),
        (["sgbm", "--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["raft-lite+v2c", "--data", DATA], "untrained"),
        (["sgbm", "--data", DATA, "--limit", "0"], "--limit"),
        (["sgbm"], "--data"),
        (["--data", DATA], "MODEL"),
        (["sgbm", "--data", DATA, "--metric", "epee"], "did you mean 'epe'"),
        (["sgbm", "--data", DATA, "--out", __file__], "is a file"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_errors_are_one_line(run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1


def test_an_error_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    assert run("sgbm(block_size=4)", "--data", DATA, "--out", str(tmp_path / "new"))[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_baselines_need_no_torch() -> None:
    script = "import sys; from polzoo.cli.app import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    arguments = ["eval", "sgbm", "--data", DATA, "--limit", "1"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "POLZOO_PLUGINS": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1] == "False"
