"""The table that waits for a GPU: its code on a CPU, at toy sizes."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import flashgru_gpu  # pyright: ignore[reportMissingImports]

    return flashgru_gpu


def test_every_form_runs_and_dense_ones_agree(script, tmp_path, monkeypatch):
    pytest.importorskip("triton")
    out = tmp_path / "table.json"
    small = ["--device", "cpu", "--sizes", "48x64", "--channels", "8", "--rounds", "1", "--densities", "0.25", "1"]
    monkeypatch.setattr(sys, "argv", ["flashgru_gpu.py", *small, "--out", str(out)])
    script.main()
    found = json.loads(out.read_text())
    assert found["what"].startswith("not measured on a GPU")
    rows = {row["form"]: row for row in found["rows"]}
    assert all(row["ms"] > 0 and row["peak_mib"] > 0 and row["bytes"] > 0 for row in rows.values())
    exact = [row["px_from_native"] for row in rows.values() if "px_from_native" in row]
    assert len(exact) == 8 and max(exact) < 1e-4
    assert rows["density 0.25"]["active_share"][0] == 0.25
    assert rows["top_k 38"]["active_share"][0] == pytest.approx(38 / 192)
    assert {ratio["form"] for ratio in found["ratios"]} == {"density 0.25", "density 1", "top_k 38"}


def test_no_time_left_is_said(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flashgru_gpu.py", "--device", "cpu", "--sizes", "48x64", "--seconds", "-1"])
    script.main()
    assert "no time left" in capsys.readouterr().out


def test_a_step_moves_what_the_formula_says(script):
    """Every pixel active: all sets are the same, and the formula can be read off by hand."""
    from flashgru_bytes import Gru, moved  # pyright: ignore[reportMissingImports]

    pixels, c, x = 100, 4, 6
    reads = pixels * ((c + x) + (c + x) + 3 * c + 3 * c) * 2
    tables = pixels * 2 * (2 * 9 * 4 + 8)
    writes = (pixels * (c + c + c) + c) * 2
    weights = 3 * c * 9 * (c + x) * 2
    assert moved(Gru(c, x, 2), pixels, pixels, pixels) == reads + tables + writes + weights
