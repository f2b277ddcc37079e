"""The script that measures what masks cost: its rows, what it keeps, what it trains, what it writes into a folder."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import polzoo
from polzoo import checkpoint, model_card
from polzoo.config import read_alias, read_config
from polzoo.errors import PolzooError
from polzoo.settings import Settings

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SPEC = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
SPARSE = 'flashgru(density=0.2,importance="gradient")'


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import flashgru_accuracy  # pyright: ignore[reportMissingImports]

    return flashgru_accuracy


@pytest.fixture
def folder(tmp_path):
    return checkpoint.save(polzoo.build(SPEC, Settings(iterations=2)), tmp_path / "tiny")


def run(script, folder, *options):
    sets = ["--scenes", "1", "--density", "0.3", "--density", "1", "--iterations", "2", "--out", f"{folder}.json"]
    done = CliRunner().invoke(script.main, [str(folder), *sets, *options], catch_exceptions=False)
    return done, json.loads(Path(f"{folder}.json").read_text())["tiny"]


def test_rows_are_measured_once_and_say_what_the_model_lacks(script, folder, monkeypatch):
    _, found = run(script, folder, "--tune", "0")
    rows = {(row["importance"], row["dense_steps"], row["density"]): row for row in found["rows"]}
    assert {key[:2] for key in rows} == {("dense", 2), ("gradient", 0), ("gradient", 1), ("motion", 1)}
    assert set(found["lacks"]) == {"attention", "attention-inverse", "gate"}
    assert rows["gradient", 0, 1.0]["cost"] == pytest.approx(0, abs=1e-6)  # every pixel refined is the dense model
    assert rows["gradient", 0, 0.3]["epe"] != rows["dense", 2, 1.0]["epe"]
    monkeypatch.setattr(script, "Scenes", None)
    assert run(script, folder, "--tune", "0")[1]["rows"] == found["rows"]


def test_figures_of_other_weights_are_not_kept(script, folder):
    _, first = run(script, folder, "--tune", "0")
    checkpoint.save(polzoo.build(SPEC, Settings(iterations=2)), folder)
    _, second = run(script, folder, "--tune", "0")
    assert second["weights"] != first["weights"] and len(second["rows"]) == len(first["rows"])
    assert second["rows"][0]["epe"] != first["rows"][0]["epe"]


def test_fine_tuning_has_a_dense_model_trained_as_long_beside_it(script, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "TRAINING", {**script.TRAINING, "batch_size": 1, "workers": 0})
    where = ["--tune-data", "synthetic(length=8,height=64,width=96)", "--runs", str(tmp_path / "runs")]
    _, found = run(script, folder, "--importance", "gradient", "--tune", "1", *where)
    dense, masked = (row for row in found["rows"] if row["tuned"] == 1)
    assert (dense["importance"], masked["importance"], masked["density"]) == ("dense", "gradient", 0.3)
    assert masked["cost"] == pytest.approx(masked["epe"] / dense["epe"] - 1)
    trained = [read_config(run / "checkpoint") for run in sorted((tmp_path / "runs").iterdir())]
    assert [str(one.spec().update.name) for one in trained] == ["dense", "flashgru"]


def test_a_sparse_execution_is_settled_with_an_alias(script, folder):
    alias = script.settle(folder, SPARSE)
    assert alias.name == "tiny-flash" and (read := read_alias(alias)) and read.execution == SPARSE
    assert read_config(folder).execution == SPARSE and checkpoint.verify(alias).ok
    sparse = polzoo.load(alias).spec.update
    assert polzoo.load(folder, update="flashgru").spec.update == sparse
    assert (folder / "README.md").read_text() == model_card.render(folder, "tiny")
    script.settle(folder, SPARSE.replace("0.2", "0.1"))  # once more, after other figures
    assert polzoo.load(alias).spec.update != sparse


def test_where_it_does_not_pay_there_is_no_alias(script, folder):
    assert script.settle(folder, "dense") == folder and not folder.with_name("tiny-flash").exists()
    assert read_config(folder).execution == "dense" and checkpoint.verify(folder).ok
    assert "FlashGRU does not pay for it" in (folder / "README.md").read_text()


def test_nothing_is_replaced_that_is_somebodys_own(script, folder):
    before = (folder / "config.json").read_text()
    tuned = checkpoint.save(polzoo.build(SPEC), folder.with_name("tiny-flash"))
    with pytest.raises(PolzooError, match="has tensors of its own and is kept"):
        script.settle(folder, SPARSE)
    assert read_alias(tuned) is None
    (folder / "README.md").write_text("# All mine\n")
    with pytest.raises(PolzooError, match="was not made by polzoo"):
        script.settle(folder, "dense")
    assert (folder / "config.json").read_text() == before
