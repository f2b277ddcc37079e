"""docs/publishing.md: its figures are the benchmark's and within the bound, its dry run is what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from polzoo.cli.app import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")


def test_what_it_costs_is_what_was_measured():
    results = json.loads((ROOT / "benchmarks" / "results" / "hub.json").read_text(encoding="utf-8"))["results"]
    rows = {
        cells[0]: cells[2:] for line in re.findall(r"^\| (.*) \|$", PAGE, re.M) if len(cells := line.split(" | ")) == 4
    }
    for name, found in results.items():
        assert rows[name] == [f"{found[kind]['ratio']:.2f}" for kind in ("wall", "cpu")]
        assert name == "publish" or found["wall"]["ratio"] <= 1.5  # which also predicts the golden pair anew


def test_the_dry_run_is_what_is_printed(capsys):
    shown = PAGE.partition("```text\n$ polzoo ")[2].partition("```")[0]
    command, _, printed = shown.partition("\n")
    assert main(command.split()) == 0 and capsys.readouterr().out == printed
