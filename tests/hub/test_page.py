"""docs/publishing.md: its figures are the benchmark's, and within the bound."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_it_costs_is_what_was_measured():
    page = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    results = json.loads((ROOT / "benchmarks" / "results" / "hub.json").read_text(encoding="utf-8"))["results"]
    rows = {
        cells[0]: cells[2:] for line in re.findall(r"^\| (.*) \|$", page, re.M) if len(cells := line.split(" | ")) == 4
    }
    for name, found in results.items():
        assert rows[name] == [f"{found[kind]['ratio']:.2f}" for kind in ("wall", "cpu")]
        assert found["wall"]["ratio"] <= 1.5
