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
from PIL import Image

from polzoo.cli.app import main
from polzoo.evaluation.protocol import names

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
        (["raft-lite+v2cc", "--data", DATA], "did you mean 'v2c'"),
        (["sgbm", "--data", DATA, "--limit", "0"], "--limit"),
        (["sgbm"], "--data"),
        (["--data", DATA], "MODEL"),
        (["sgbm", "--protocol", "kity15-train"], "did you mean 'kitti15-train'"),
        (["sgbm", "--protocol", "kitti15-train"], "needs --data ROOT"),
        (["sgbm", "--protocol", "kitti15-train", "--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["sgbm", "--protocol", "synthetic-v1", "--data", DATA], "takes no --data"),
        (["sgbm", "--protocol", "synthetic-v1", "--metric", "d1"], "leave --metric out"),
        (["sgbm", "--submission", "kitty15"], "did you mean 'kitti15'"),
        (["sgbm", "--submission", "kitti15", "--limit", "2"], "--submission takes no --limit"),
        (["sgbm", "--submission", "kitti15", "--protocol", "kitti15-train"], "--submission takes no --protocol"),
        (["--compare", "one", "--data", DATA], "--compare takes no --data"),
        (["--list", "--json"], "--list takes no --json"),
        (["--compare", "one", "--submission", "eth3d"], "--compare takes no --submission"),
        (["--compare", "/nowhere/eval.json"], "/nowhere"),
        (["sgbm", "--data", DATA, "--metric", "epee"], "did you mean 'epe'"),
        (["sgbm", "--data", DATA, "--out", __file__], "is a file"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_errors_are_one_line(run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1


def test_a_report_beside_the_figures_and_a_second_call_does_nothing_again(run: Run, tmp_path: Path) -> None:
    call = ("sgbm", "--data", DATA, "--limit", "2", "--out", str(tmp_path))
    code, out, err = run(*call)
    assert code == 0 and str(tmp_path / "report.html") in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.json", "pairs-0.jsonl", "report.html"]
    before = (tmp_path / "pairs-0.jsonl").read_bytes()
    assert run(*call)[1] == out and (tmp_path / "pairs-0.jsonl").read_bytes() == before
    code, out, err = run("sgbm-filled", *call[1:])
    assert code == 2 and "of another evaluation" in err and err.count("\n") == 1


def test_a_spec_is_evaluated_and_said_to_be_untrained(run: Run) -> None:
    tiny = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    code, out, err = run(tiny, "--data", DATA, "--limit", "1", "--iterations", "1", "--json")
    (method,) = json.loads(out)["evaluations"][0]["methods"]
    assert (code, err) == (0, "") and (method["kind"], method["sha256"], method["iterations"]) == ("untrained", None, 1)
    assert method["curve"] == [method["regions"]["all"]["epe"]["pixels"]]


def test_a_protocol(run: Run) -> None:
    code, out, err = run("sgbm", "--protocol", "synthetic-v1", "--limit", "1")
    assert (code, err) == (0, "")
    assert out.startswith("synthetic-v1 v1, synthetic(seed=9001,length=100): 1 pair (the first of 100: not the whole")
    assert "bad-3 [%]" in out and "rmse [px]" in out


def test_real_pairs(run: Run, shared: Path) -> None:
    """What our notes say of the reference setting on teddy, whose truth it covers."""
    sgbm = "sgbm-filled(pad=false)"
    code, out, err = run(sgbm, "--protocol", "real-pairs", "--data", str(shared / "data"), "--limit", "1", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["evaluations"]
    assert found["data"] == {"spec": "real-pairs", "pairs": 1, "of": 5, "names": ["teddy"]}
    assert found["methods"][0]["regions"]["all"]["bad-3"]["pairs"] == pytest.approx(11.1, abs=0.06)


def test_protocols_are_listed_without_anything_heavy() -> None:
    script = (
        "import sys; from polzoo.cli.app import main; main(['eval', '--list']);"
        "print([name for name in ('torch', 'numpy', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    *lines, heavy = done.stdout.splitlines()
    assert heavy == "[]" and [line.split()[0] for line in lines] == names()
    assert any(line.startswith("kitti15-train") and line.endswith("(needs --data ROOT)") for line in lines)


def test_results_side_by_side(run: Run, tmp_path: Path) -> None:
    for name, limit in (("sgbm", "2"), ("sgbm-filled", "2"), ("sgbm(block_size=3)", "1")):
        assert run(name, "--data", DATA, "--limit", limit, "--out", str(tmp_path / name))[0] == 0
    code, out, err = run("--compare", str(tmp_path / "sgbm"), str(tmp_path / "sgbm-filled"))
    assert (code, err) == (0, "") and out.splitlines()[2].split() == ["sgbm", "sgbm-filled"]
    code, out, err = run("--compare", str(tmp_path / "sgbm"), str(tmp_path / "sgbm(block_size=3)"))
    assert code == 2 and out == "" and "not measured alike" in err and err.count("\n") == 1


def test_a_submission(run: Run, tmp_path: Path) -> None:
    """A root of two pairs as KITTI publishes them, with the PNGs of another library."""
    rng = np.random.default_rng(0)
    for side in ("image_2", "image_3"):
        (tmp_path / "root" / "testing" / side).mkdir(parents=True)
        for i in range(2):
            picture = rng.integers(0, 256, (40, 120, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / "root" / "testing" / side / f"00000{i}_10.png")
    call = ("--submission", "kitti15", "--data", str(tmp_path / "root"), "--out", str(tmp_path / "out"))
    code, _, err = run("sgbm-filled", *call)
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "out" / "disp_0").iterdir()) == ["000000_10.png", "000001_10.png"]
    code, _, err = run("sgbm", "sgbm-filled", *call)
    assert code == 2 and "--submission takes one MODEL" in err
    code, _, err = run("sgbm", *call[:-1], str(tmp_path / "root"))
    assert code == 2 and "root is not empty" in err and (tmp_path / "root" / "testing").is_dir()


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
