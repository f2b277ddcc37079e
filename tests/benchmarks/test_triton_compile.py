"""The committed table of compiled kernels: complete, clean, and what this machine's Triton still makes of them."""

import itertools
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TARGETS = 80, 86, 87, 89, 90, 100
TABLE = json.loads((BENCHMARKS / "results" / "triton_compile.json").read_text())


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import triton_compile  # pyright: ignore[reportMissingImports]

    return triton_compile


def assert_clean(row):
    assert row["spilled_bytes"] == row["spill_instructions"] == 0, row
    assert sum(row["tensor_cores"].values()) > 0, row


def test_every_kernel_is_in_the_table_and_clean(script):
    assert tuple(script.TARGETS) == TARGETS
    wanted = {
        (capability, kernel, tile, dtype)
        for capability in script.TARGETS
        for kernel in script.KERNELS
        for tile in script.TILES
        for dtype in script.TYPES
    }
    rows = [row for row in TABLE["kernels"] if "error" not in row]
    assert {(row["capability"], row["phase"], tuple(row["tile"]), row["dtype"]) for row in rows} == wanted
    for row in rows:
        assert_clean(row)


def test_every_gpu_has_a_tile_that_fits(script):
    for capability in script.TARGETS:
        for kernel in script.KERNELS:
            rows = [r for r in TABLE["kernels"] if (r["capability"], r["phase"]) == (capability, kernel)]
            assert sum(row["fits"] for row in rows) >= 2


def test_bytes_are_those_of_the_formula():
    assert len(TABLE["bytes"]) == 2 * len({tuple(row["tile"]) for row in TABLE["bytes"]})
    assert all(row["formula"] == row["counted"] for row in TABLE["bytes"])


def test_the_page_shows_the_table(script):
    assert (BENCHMARKS / "results" / "triton_compile.md").read_text() == script.page(TABLE)


@pytest.mark.slow
@pytest.mark.parametrize("turn, case", list(enumerate(itertools.product(("gates", "blend", "convolve"), TARGETS))))
def test_compiled_again(turn, case, script, monkeypatch, tmp_path):
    """Every kernel for every GPU; tiles and types take turns, as all of them together take a quarter of an hour."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, capability = case
    tile, dtype = script.TILES[turn % len(script.TILES)], list(script.TYPES)[turn // len(script.TILES) % 2]
    found = script.compiled(kernel, tile, capability, dtype)
    assert_clean(found)
    place = {"capability": capability, "phase": kernel, "tile": list(tile), "dtype": dtype}
    (known,) = (row for row in TABLE["kernels"] if place.items() <= row.items())
    assert found["tensor_cores"].keys() == known["tensor_cores"].keys()
    if script.versions()["triton"] == TABLE["versions"]["triton"]:
        assert found == known
