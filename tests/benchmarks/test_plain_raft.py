"""The plain eager RAFT-Stereo is what polzoo's ``raft`` is measured by, so it must compute the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from polzoo.evaluation.benchmark_result import Setting


@pytest.fixture
def plain_raft(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("plain_raft")


@pytest.mark.slow
def test_equals_raft(plain_raft: ModuleType) -> None:
    assert plain_raft.difference(iterations=8) <= 1e-3


@pytest.mark.slow
def test_ratios_beside_raft(plain_raft: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    side_by_side = importlib.import_module("side_by_side")
    monkeypatch.setattr(side_by_side, "fresh", lambda function, *args: function(*args))
    (row,) = side_by_side.compare(plain_raft.load, [2], Setting(height=64, width=96, threads=1, rounds=3))
    assert row["iterations"] == 2 and len(row["cpu"]["each"]) == 3
    assert row["peak"] == row["peak_bytes"] / row["plain_peak_bytes"] < 1
