"""``polzoo bench`` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from polzoo.cli.app import main
from polzoo.evaluation import benchmark, benchmark_fusions

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
SMALL = ("--size", "64x96", "--threads", "1", "--rounds", "3")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for module in (benchmark, benchmark_fusions):
        monkeypatch.setattr(module, "fresh", lambda function, *args: function(*args))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["bench", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_one_model_then_its_history(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    code, out, err = run(TINY, *SMALL, "--iterations", "2", "--json", str(path))
    assert code == 0 and out.startswith(f"{TINY}: random weights, seed 0, 2 iterations") and str(path) in err
    assert "A / B" not in out
    found = json.loads(path.read_text())
    assert found["run"]["command"].split()[-1] != "" and len(found["models"]) == 1 and found["setting"]["height"] == 64
    code, out, err = run("history", str(path))
    assert (code, err) == (0, "") and "1.00" in out and "result.json" in out


def test_options_may_stand_before_the_model(run: Run) -> None:
    code, out, _ = run(*SMALL, "--iterations", "1", TINY)
    assert code == 0 and "from" not in out.splitlines()[0]


def test_two_models(run: Run) -> None:
    code, out, _ = run(f"{TINY}+v1(pol_levels=1,pol_radius=1)", "--against", TINY, *SMALL, "--iterations", "2")
    assert code == 0 and out.splitlines()[1].startswith(f"B {TINY}:") and "A / B" in out and "parts B" in out
    assert "outputs differ" not in out


def test_fusions(run: Run, tmp_path: Path) -> None:
    given = ("--backbone", TINY, "--only", "confidence", "--iterations", "1", "--json", str(tmp_path / "f.json"))
    code, out, _ = run("fusions", *SMALL, *given)
    assert code == 0 and "confidence" in out and "CPU / none" in out
    assert [row["name"] for row in json.loads((tmp_path / "f.json").read_text())["rows"]] == ["none", "confidence"]


def test_help_shows_all_three(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0 and all(f"polzoo bench {word}" in out for word in ("MODEL", "fusions", "history"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'MODEL'"),
        (["raftt"], "did you mean 'raft'"),
        (["raft-lite+v9"], "v9"),
        (["raft", "--against", "rafft"], "did you mean 'raft'"),
        (["raft", "--against", "/nowhere/x.json"], "/nowhere"),
        (["raft", "--size", "20"], "no height and width"),
        (["raft", "--size", "64xx96"], "no height and width"),
        (["raft", "--size", "4x96"], "8 to 8192"),
        (["raft", "--size", "64x9999"], "8 to 8192"),
        (["raft", "--threads", "0"], "--threads"),
        (["raft", "--threads", "4096"], "4096 threads on"),
        (["raft", "--rounds", "2"], "--rounds"),
        (["raft", "--warmup", "0"], "--warmup"),
        (["raft", "--iterations", "0"], "--iterations"),
        (["raft", "--dtype", "int8"], "--dtype"),
        (["raft", "--seed", "-1"], "--seed"),
        (["raft-lite", "--images", __file__, __file__], "test_bench.py is no image"),
        (["raft-lite", "--images", "/nowhere.png", __file__], "/nowhere.png"),
        (["raft", "--device", "meta", "--threads", "1"], "cannot be measured"),
        (["raft", "--json", "/dev/null/x"], "is a file, not a folder"),
        (["raft", "--json", "."], "is a folder; name a file"),
        (["raft", "extra"], "unexpected extra argument"),
        (["history"], "FILES"),
        (["history", "/nowhere"], "no such file"),
        (["history", __file__], "no result of polzoo bench MODEL"),
        (["fusions", "--only", "v9"], "unknown fusion 'v9'"),
        (["fusions", "--backbone", "raft-light"], "did you mean 'raft-lite'"),
        (["fusions", "--backbone", "raft-lite+v2c"], "names 2 parts"),
        (["fusions", "--page", "/nowhere.md"], "/nowhere.md"),
        (["fusions", "--page", __file__], "has no table to renew"),
        (["fusions", "--page", __file__, "--only", "v1"], "leave out --only"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_errors_are_one_line(run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1 and err.startswith("polzoo: error: ")
