"""What the benchmarks of pruning measure: the student at the start of a stage, which is its truncated teacher."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from polzoo.data.loader import collate
from polzoo.data.options import SyntheticOptions
from polzoo.data.synthetic import Synthetic

BATCH = collate([Synthetic(SyntheticOptions(seed=41, length=1, height=64, width=96, max_disparity=16))[0]])


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    step, gradients = (importlib.import_module(name) for name in ("pip_step", "pip_gradients"))
    return step, gradients


def test_the_student_is_the_truncated_teacher(scripts: tuple[ModuleType, ModuleType]) -> None:
    pip = scripts[0].pruning("polstereo-nano", 4, 2, {})
    models = pip.model, pip.guide
    assert [model.settings.iterations for model in models] == [2, 4]
    mine, taught = (model.state_dict() for model in models)
    assert all(torch.equal(mine[name], taught[name]) for name in mine)


def test_both_measure_a_stage(scripts: tuple[ModuleType, ModuleType]) -> None:
    step, gradients = scripts
    row = step.stage("polstereo-nano", 2, 1, step.MIXTURES["paper"], BATCH, rounds=1)
    assert row["step"] > row["update"] > 0 and row["bound"] > row["frozen"] > 0
    rows = gradients.stage("polstereo-nano", 2, 1, [BATCH])
    assert {one["term"]: one["cosine"] for one in rows}["final"] == pytest.approx(1, abs=1e-3)
