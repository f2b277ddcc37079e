"""``polzoo data`` as it is typed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polzoo.cli.app import main
from polzoo.data.formats import encode_mask, read_image, write_disparity, write_image
from polzoo.data.options import SyntheticOptions
from polzoo.data.synthetic import Synthetic
from polzoo.visualize import view

SPEC = "synthetic(seed=12005,length=2,height=96,width=144,max_disparity=16.0)"
SCENES = Synthetic(SyntheticOptions(seed=12_005, length=2, height=96, width=144, max_disparity=16.0))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the files of one scene; manifests name them."""
    sample = SCENES[0]
    assert sample.disparity is not None and sample.visible is not None
    write_image(tmp_path / "left.png", view(sample.left))
    write_image(tmp_path / "right.png", view(sample.right))
    write_disparity(tmp_path / "truth.pfm", sample.disparity[0])
    (tmp_path / "visible.png").write_bytes(encode_mask(sample.visible[0]))
    return tmp_path


GOOD = "left.png,right.png,truth.pfm,1,0"


def manifest(files: Path, *rows: str) -> Path:
    path = files / "pairs.csv"
    path.write_text("\n".join(["left,right,disparity,scale,offset", *rows]) + "\n")
    return path


def test_a_clean_set_is_0(run: Run, files: Path) -> None:
    code, out, err = run("check", manifest(files, GOOD))
    assert (code, err) == (0, "") and out.rstrip().endswith("nothing wrong")
    assert run("check", SPEC)[0] == 0


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ("left.png,right.png,truth.pfm,0.5,0", "scale", "2 times too large"),
        ("left.png,right.png,truth.pfm,2,0", "scale", "2 times too small"),
        ("left.png,right.png,truth.pfm,1,2", "shift", "2 px too large"),
        ("left.png,right.png,truth.pfm,1,-2", "shift", "2 px too small"),
        ("left.png,right.png,truth.pfm,-1,0", "refused", "negative"),
        ("right.png,left.png,truth.pfm,1,0", "swapped", "left and right are exchanged"),
        ("left.png,left.png,truth.pfm,1,0", "same", "the same picture"),
        ("left.png,cut.png,truth.pfm,1,0", "refused", "cut.png is cut off"),
        ("left.png,narrow.png,truth.pfm,1,0", "refused", "143×96"),
        ("left.png,right.png,short.pfm,1,0", "refused", "short.pfm"),
        ("left.png,blank.png,truth.pfm,1,0", "blank", "one colour"),
    ],
)
def test_each_mistake_is_1_and_named(run: Run, files: Path, row: str, kind: str, words: str) -> None:
    (files / "cut.png").write_bytes((files / "right.png").read_bytes()[:-500])
    (files / "short.pfm").write_bytes((files / "truth.pfm").read_bytes()[:-500])
    write_image(files / "narrow.png", view(read_image(files / "right.png").transpose(2, 0, 1))[:, 1:])
    write_image(files / "blank.png", np.full((96, 144, 3), 90, np.uint8))
    code, out, err = run("check", manifest(files, row))
    assert (code, err) == (1, "") and f"problem: {kind} (1)" in out and words in out and "1 problems" in out
    found = json.loads(run("check", manifest(files, row), "--json")[1])
    assert [f["kind"] for f in found["findings"] if f["level"] == "problem"] == [kind]


def test_copies_and_masks(run: Run, files: Path) -> None:
    (files / "nothing.png").write_bytes(encode_mask(np.zeros((96, 144), bool)))
    path = files / "pairs.csv"
    rows = ["visible.png", "visible.png", "nothing.png"]
    path.write_text(
        "left,right,disparity,visible\n" + "".join(f"left.png,right.png,truth.pfm,{name}\n" for name in rows)
    )
    code, out, _ = run("check", path, "--json")
    assert code == 1
    problems = [(f["kind"], f["pair"]) for f in json.loads(out)["findings"] if f["level"] == "problem"]
    assert sorted(problems) == [("copy", 1), ("copy", 2), ("mask", 2)]


def test_the_report_has_pictures_and_needs_nothing_else(run: Run, files: Path) -> None:
    sheet = manifest(files, GOOD, "left.png,right.png,truth.pfm,0.5,0", "left.png,cut.png,truth.pfm,1,0")
    (files / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    code, _, err = run("check", sheet, "--out", files / "new" / "report")
    page = (files / "new" / "report" / "report.html").read_text(encoding="utf-8")
    assert code == 1 and err.count("written: ") == 2
    assert page.count("data:image/jpeg;base64,") == 1 and "No picture" in page and "2 times too large" in page
    assert "http" not in page and "<script" not in page
    assert json.loads((files / "new" / "report" / "report.json").read_text())["problems"] == 3  # a copy, too


def test_names_are_text_not_html(run: Run, files: Path) -> None:
    path = files / "pairs.csv"
    path.write_text("left,right,disparity,scale,name\nleft.png,right.png,truth.pfm,2,<b>x</b>\n")
    run("check", path, "--out", files / "report")
    page = (files / "report" / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;x" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "sintetic"], "did you mean 'synthetic'?"),
        (["check", "nowhere/pairs.csv"], "no such file"),
        (["check", SPEC, "--limit", "0"], "--limit"),
        (["check", SPEC, "--out", __file__], "is a file, not a folder"),
        (["stats", "nowhere/pairs.csv"], "no such file"),
        (["show", SPEC, "2", "--out", "x.png"], "there is no pair 2"),
        (["show", SPEC, "-1", "--out", "x.png"], "-1"),
        (["show", SPEC, "0", "--out", "x.jpg"], "must end in .png"),
        (["chekc", SPEC], "chekc"),
    ],
)
def test_bad_input_is_2_and_one_line(run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_stats(run: Run, files: Path) -> None:
    code, out, _ = run("stats", SPEC, "--json")
    found = json.loads(out)
    samples = [SCENES[0], SCENES[1]]
    disparity = np.stack([sample.disparity for sample in samples if sample.disparity is not None])
    left = np.stack([sample.left for sample in samples])
    assert code == 0 and found["pairs"] == 2 and found["sizes"] == {"144×96": 2}
    assert found["polarity"] == {"parallel-crossed": 2}
    assert found["disparity"]["least"] == pytest.approx(disparity.min())
    assert found["disparity"]["most"] == pytest.approx(disparity.max())
    assert found["disparity"]["quantiles"]["0.5"] == pytest.approx(np.median(disparity), rel=0.05)
    assert found["shares"]["valid"] == 1 and found["shares"]["outside"] is None
    assert found["shares"]["glass"] == pytest.approx(np.mean([sample.glass for sample in samples]))  # pyright: ignore
    assert found["left"]["mean"] == pytest.approx(left.mean((0, 2, 3)), abs=1e-5)
    assert found["left"]["std"] == pytest.approx(left.std((0, 2, 3)), abs=1e-5)
    table = run("stats", manifest(files, GOOD))[1]
    assert "144×96 (1)" in table and "not known" in table


def test_stats_without_truth(run: Run, files: Path) -> None:
    path = files / "pairs.csv"
    path.write_text("left,right\nleft.png,right.png\n")
    assert json.loads(run("stats", path, "--json")[1])["disparity"] is None
    assert "disparity   not known" in run("stats", path)[1]


def test_show(run: Run, files: Path) -> None:
    target = files / "new" / "pair.png"
    code, out, _ = run("show", SPEC, "1", "--out", target)
    assert code == 0 and out.strip() == os.fspath(target)
    height, width, _ = read_image(target).shape
    assert width > 4 * 144 and height > 2 * 96, "seven panels in two rows"
