"""The plain eager forms are what polzoo's backbones are measured by, so they must compute the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from polzoo.evaluation.benchmark_result import Setting

pytestmark = pytest.mark.slow


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("side_by_side")


@pytest.mark.parametrize("name", ["plain_raft", "plain_igev"])
def test_equals_polzoos(side_by_side: ModuleType, name: str) -> None:
    assert side_by_side.difference(importlib.import_module(name).load, iterations=8) <= 1e-3


def test_ratios_beside_raft(side_by_side: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    load = importlib.import_module("plain_raft").load
    monkeypatch.setattr(side_by_side, "fresh", lambda function, *args: function(*args))
    (row,) = side_by_side.compare(load, [2], Setting(height=64, width=96, threads=1, rounds=3))
    assert row["iterations"] == 2 and len(row["cpu"]["each"]) == 3
    assert row["peak"] == row["peak_bytes"] / row["plain_peak_bytes"] < 1
