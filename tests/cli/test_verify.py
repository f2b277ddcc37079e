"""``polzoo verify``: 0 all is well, 1 a check failed, 2 unknown or unreadable."""

import shutil

import pytest
import torch

import polzoo
from polzoo.checkpoint import save
from polzoo.cli.app import main
from polzoo.settings import Settings

torch.set_num_threads(1)

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    torch.manual_seed(0)
    return save(polzoo.build(TINY, Settings(iterations=2)), tmp_path_factory.mktemp("ck") / "ck")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "ck")


def damage(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def test_well(folder, capsys):
    assert main(["verify", str(folder), f"dir:{folder}"]) == 0
    out = capsys.readouterr().out
    assert out.count(" ok ") == 8 and "FAILED" not in out
    assert "unchanged: model.safetensors, golden.safetensors; not covered: README.md" in out


def test_another_operator(folder, capsys):
    assert main(["verify", str(folder), "--update", "dense"]) == 0
    assert "golden  ok" in capsys.readouterr().out


def test_a_failed_check(folder, original, capsys):
    damage(folder)
    assert main(["verify", str(original), str(folder)]) == 2
    out = capsys.readouterr().out
    assert "hash    FAILED" in out and "does not match the sha256" in out
    assert out.count("-       not checked: hash failed\n") == 2


def test_unknown_and_unreadable(folder, capsys, tmp_path):
    assert main(["verify", "no-such-model"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    shutil.copytree(folder, tmp_path / "bad")
    (tmp_path / "bad" / "config.json").write_text("{")
    assert main(["verify", str(tmp_path / "bad")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    damage(folder)
    assert main(["verify", str(folder), str(tmp_path / "bad")]) == 2
    out = capsys.readouterr().out
    assert "hash    FAILED" in out and "unreadable" in out


def test_all(original, folder, capsys, monkeypatch):
    known: dict = {}
    monkeypatch.setattr("polzoo.cards.folders", lambda: known)
    assert main(["verify", "--all"]) == 0
    known |= {"a": original, "b": folder}
    assert main(["verify", "--all"]) == 0
    damage(folder)
    assert main(["verify", "--all"]) == 2
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--all", "x"], ["x", "--device", "nowhere"]])
def test_bad_usage(arguments, capsys):
    assert main(["verify", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
