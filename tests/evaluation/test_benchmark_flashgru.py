"""``polzoo bench flashgru``: its code at toy sizes, and its counting by hand."""

import json

import pytest
import torch
from click.testing import CliRunner

from polzoo.cli.bench import command
from polzoo.errors import PolzooError
from polzoo.evaluation import benchmark_flashgru as bench
from polzoo.evaluation import benchmark_flashgru_report as report
from polzoo.evaluation.benchmark_flashgru_bytes import Gru, Traffic, moved, operations
from polzoo.evaluation.benchmark_flashgru_forms import DENSE

SMALL = ["--size", "48x64", "--channels", "8", "--rounds", "1", "--threads", "1", "--no-compile"]
EAGER = {name for name, form in DENSE.items() if not form.compiled}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    page = folder / "page.md"
    page.write_text(f"before\n{report.MARKS[0]}\n<last one>\n{report.MARKS[1]}\nafter\n")
    given = [*SMALL, "--density", "0.25", "--density", "1", "--json", str(folder / "found.json"), "--page", str(page)]
    run = CliRunner().invoke(command, ["flashgru", *given, "--figure", str(folder / "figure.png")])
    assert run.exit_code == 0, run.output
    return bench.FlashResult.model_validate_json((folder / "found.json").read_text()), folder, run.output


def test_every_form_is_measured_and_dense_ones_agree(found):
    result = found[0]
    sparse = {"density 0.25", "density 1"}
    assert {row.form for row in result.step} == EAGER | sparse
    assert {row.form for row in result.table} == EAGER | sparse | {"top_k 38"}
    for row in (*result.step, *result.table):
        assert row.error is None and row.cpu_ms is not None and row.peak_bytes and row.bytes and row.flops
        if row.dense or row.form == "density 1":
            assert row.differ_px is not None and row.differ_px < 1e-4
    rows = {row.form: row for row in result.table}
    assert rows["density 0.25"].active == (0.25, 0.25, 0.25)
    assert rows["top_k 38"].active == pytest.approx((38 / 192, 10 / 48, 3 / 12))
    assert rows["density 1"].active == (1, 1, 1)


def test_the_page_the_figure_and_the_text(found):
    result, folder, text = found
    page = (folder / "page.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "<last one>" not in page
    assert "| density 0.25 |" in page and "density 0.25" in text and "roofline" in text
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    rows = next(report.groups(result.table))
    best = report.best_dense(rows)
    ratio = None if best is None else report.ratios(best, rows)
    assert ratio is not None and ratio.best == 1 and ratio.native >= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": ((50, 64),)}, "multiples of 16"),
        ({"sizes": ((32, 64),)}, "48 or more"),
        ({"threads": 4096}, "4096 threads"),
        ({"device": "cuda"}, "no CUDA device"),
        ({"backend": "triton"}, "backend 'triton'"),
    ],
)
def test_settings_that_make_no_sense(options, words):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("has a CUDA device")
    with pytest.raises(PolzooError, match=words):
        bench.bench_flashgru(bench.FlashSetting(**{"threads": 1, **options}))


def test_a_step_runs_by_the_backend_that_is_asked_for():
    """``naive`` computes every pixel, whatever the mask."""
    rows = {}
    for backend in ("naive", "sparse"):
        small = bench.FlashSetting(
            sizes=((48, 64),), densities=(0.1,), channels=8, backend=backend, threads=1, rounds=1, compile=False
        )
        rows[backend] = {row.form: row for row in bench.bench_flashgru(small, ["step"]).step}
    dense, naive, sparse = rows["naive"]["zoo"], rows["naive"]["density 0.1"], rows["sparse"]["density 0.1"]
    assert dense.flops and naive.flops and sparse.flops
    assert naive.flops == dense.flops > 2 * sparse.flops


def test_a_profile_names_the_forms_there_are():
    small = bench.FlashSetting(sizes=((48, 64),), densities=(0.2,), threads=1)
    with pytest.raises(PolzooError, match=r"did you mean 'density 0\.2'"):
        bench.profiled("density 0.3", small)
    with pytest.raises(PolzooError, match="--device cuda"):
        bench.profiled("density 0.2", small)


def test_a_page_without_marks_is_refused_before_anything_is_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    run = CliRunner().invoke(command, ["flashgru", *SMALL, "--page", str(page)])
    assert isinstance(run.exception, PolzooError) and "no table to renew" in str(run.exception)


def test_no_time_left_is_said():
    few = bench.FlashSetting(sizes=((48, 64),), densities=(0.2,), channels=8, threads=1, rounds=1, seconds=-1)
    found = bench.bench_flashgru(few, ["table"])
    assert {row.form for row in found.table} == {*DENSE, "density 0.2", "top_k 38"}
    assert all(row.error and "no time left" in row.error for row in found.table)
    assert "no time left" in report.table(found)


def test_a_step_moves_what_the_formula_says():
    """Every pixel active: all sets are the same, and the formula can be read off by hand."""
    pixels, c, x = 100, 4, 6
    reads = pixels * ((c + x) + (c + x) + 3 * c + 3 * c) * 2
    tables = pixels * 2 * (2 * 9 * 4 + 8)
    writes = (pixels * (c + c + c) + c) * 2
    weights = 3 * c * 9 * (c + x) * 2
    assert moved(Gru(c, x, 2), pixels, pixels, pixels) == reads + tables + writes + weights
    assert operations(Gru(c, x, 2), pixels, pixels) == 2 * 3 * pixels * c * 9 * (c + x)


def test_traffic_counts_a_gather_by_its_rows_and_a_convolution_by_its_sum():
    x, w = torch.zeros(1, 4, 5, 6), torch.zeros(3, 4, 3, 3)
    with Traffic() as seen:
        torch.nn.functional.conv2d(x, w, padding=1)
    assert seen.flops == 2 * (3 * 5 * 6) * (4 * 9) and seen.bytes == 4 * (120 + 108 + 90)
    table, index = torch.zeros(1000, 8), torch.zeros(5, dtype=torch.int64)
    with Traffic() as seen:
        table.index_select(0, index)
    assert seen.flops == 0 and seen.bytes == 2 * 5 * 8 * 4 + 5 * 8


def test_json_has_what_a_reader_needs(found):
    data = json.loads((found[1] / "found.json").read_text())
    assert data["what"] == "flashgru" and data["run"]["machine"] and data["run"]["versions"]["torch"]
