"""Benchmarks: runs take turns, ratios are per round, operations and bytes are exact, results come back from JSON."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import polzoo
from polzoo.components import OURS
from polzoo.errors import PolzooError
from polzoo.evaluation import benchmark, benchmark_fusions, benchmark_page, benchmark_report
from polzoo.evaluation.benchmark import bench
from polzoo.evaluation.benchmark_memory import footprint, fresh
from polzoo.evaluation.benchmark_pair import pair
from polzoo.evaluation.benchmark_parts import Operations, Peak, operations, watched
from polzoo.evaluation.benchmark_result import FusionResult, Result, Run, Setting, Spread, read, text
from polzoo.evaluation.benchmark_timing import order, take_turns
from polzoo.evaluation.subject import open_subject
from polzoo.memory import LivePeak, estimate, peak
from polzoo.updates.flashgru.products import product

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
POL = "v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"
SETTING = Setting(height=64, width=96, threads=1, rounds=3)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "fusions.md"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process imports torch anew, which takes longer than these models; one test below starts one."""
    for module in (benchmark, benchmark_fusions):
        monkeypatch.setattr(module, "fresh", lambda function, *args: function(*args))


@pytest.fixture(scope="module")
def result() -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "fresh", lambda function, *args: function(*args))
        return bench(f"{TINY}+{POL}", SETTING, iterations=3, against="plain", command="polzoo bench …")


# --------------------------------------------------------------------------------------------------------------- time


def test_two_runs_take_turns() -> None:
    ran: list[str] = []
    samples = take_turns([lambda: ran.append("A"), lambda: ran.append("B")], 4, warmup=1)
    assert "".join(ran) == "BA" + "ABBAABBA"
    assert [len(taken) for taken in samples] == [4, 4]


@given(count=st.integers(1, 9), turn=st.integers(-5, 50))
def test_a_round_runs_everything_once_and_the_next_one_backwards(count: int, turn: int) -> None:
    assert sorted(order(count, turn)) == list(range(count))
    assert order(count, turn + 1) == order(count, turn)[::-1]


def test_samples_belong_to_their_run() -> None:
    quick, slow = take_turns([lambda: None, lambda: time.sleep(0.01)], 3)
    assert all(one.wall >= 10 > one.cpu for one in slow) and min(one.wall for one in quick) < 10


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=40))
def test_spread(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.median == pytest.approx(np.median(values))
    assert spread.p95 == pytest.approx(np.percentile(values, 95))
    assert (spread.least, spread.most, spread.each) == (min(values), max(values), tuple(values))


def test_ratios_are_per_round() -> None:
    ratio = Spread.ratio(Spread.of([1.0, 4.0, 9.0]), Spread.of([2.0, 4.0, 3.0]))
    assert ratio.each == (0.5, 1.0, 3.0) and (ratio.median, ratio.least, ratio.most) == (1.0, 0.5, 3.0)
    with pytest.raises(ValueError, match="zip"):
        Spread.ratio(Spread.of([1.0]), Spread.of([1.0, 2.0]))


# ------------------------------------------------------------------------------------------------ operations and bytes


def test_operations_of_a_convolution() -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1)
    assert operations(lambda: conv(torch.zeros(1, 3, 10, 12)))[0] == 2 * (3 * 3 * 3) * 8 * (10 * 12)


@given(kept=st.integers(1, 20), size=st.integers(1, 1000))
def test_peak_of_what_is_kept(kept: int, size: int) -> None:
    x = torch.ones(size)
    assert peak(lambda: [x * i for i in range(kept)]) == 4 * size * kept


def test_peak_of_what_is_dropped_viewed_and_changed_in_place() -> None:
    x = torch.ones(1000)

    def run() -> torch.Tensor:
        a = x * 2
        a = a * 2  # the old one lives until the new one is there
        a.mul_(2)
        return a.view(10, 100).t()

    assert peak(run) == 8000
    assert peak(run) == 8000, "nothing of the first run is still counted"


def test_parts_add_up_and_leave_the_model_alone() -> None:
    model = polzoo.build(f"{TINY}+{POL}").eval()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    views = torch.rand(2, 1, 3, 64, 96).unbind(0)
    plain = model(*views, iterations=3).disparity
    total, parts = operations(lambda: model(*views, iterations=3), model)
    top = {path[0]: value for path, value in parts.items() if len(path) == 1}
    assert total == sum(top.values())
    assert parts["operator", "cell.motion"] % 3 == 0 and ("fusion.modulate_lookup", "gate") in parts
    for path, value in parts.items():
        assert value <= parts[path[:-1] or path]
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert torch.equal(model(*views, iterations=3).disparity, plain)


def test_hooks_that_a_fusion_leaves_alone_are_no_parts() -> None:
    model = polzoo.build(f"{TINY}+none").eval()
    _, parts = operations(lambda: model(*torch.rand(2, 1, 3, 64, 96), iterations=1), model)
    assert not any(name.startswith("fusion.") for path in parts for name in path)


def test_an_error_in_a_part_leaves_the_model_alone() -> None:
    model = polzoo.build(TINY).eval()
    with pytest.raises(PolzooError), LivePeak() as counter, watched(model, Peak(counter)):
        model(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 16))
    assert "encode" not in vars(model.backbone) and "update" not in vars(model.update)


def test_peaks_of_parts_reach_the_peak_of_all() -> None:
    model = polzoo.build(TINY).eval()
    views = torch.rand(2, 1, 3, 64, 96).unbind(0)
    with torch.no_grad(), LivePeak() as counter, watched(model, Peak(counter)) as parts:
        model(*views, iterations=2)
    assert counter.most == peak(lambda: model(*views, iterations=2))
    assert max(parts.values()) == counter.most > min(parts.values())


def test_memory_in_a_new_process_is_what_shapes_alone_say() -> None:
    found = fresh(footprint, TINY, "plain", SETTING, 2)
    expected = estimate(polzoo.build(TINY), 64, 96)
    assert found.weights == expected.weights
    assert found.peak == pytest.approx(expected.activations, rel=0.01)
    assert found.resident is None or found.resident > found.peak + found.weights


def _kill() -> None:
    import os

    os._exit(9)


def test_a_process_that_dies_is_one_clear_line() -> None:
    with pytest.raises(PolzooError, match="was killed"):
        fresh(_kill)


# ------------------------------------------------------------------------------------------------------------- results


def test_two_forms_of_one_model(result: Result) -> None:
    ours, plain = result.models
    assert (ours.form, plain.form, ours.weights) == ("inference", "plain", "random weights, seed 0")
    assert ours.iterations == 3 and len(ours.wall_ms.each) == SETTING.rounds
    assert ours.parameters["total"] == sum(ours.parameters[kind] for kind in ("backbone", "fusion", "cell"))
    assert result.ratios is not None and result.ratios.differ_px is not None and result.ratios.differ_px <= 1e-4
    assert result.ratios.cpu.each == Spread.ratio(ours.cpu_ms, plain.cpu_ms).each
    assert result.ratios.peak == ours.peak_bytes / plain.peak_bytes and result.ratios.parameters == 1


def test_iterations_cost_the_same_each(result: Result) -> None:
    model = polzoo.build(f"{TINY}+{POL}").eval()
    views = torch.rand(2, 1, 3, 64, 96).unbind(0)
    flops = [operations(lambda n=n: model(*views, iterations=n))[0] for n in (1, 2, 3)]
    assert flops[2] - flops[1] == flops[1] - flops[0] == result.models[1].flops_per_iteration
    assert result.models[1].flops == flops[2]


def test_parts_of_a_result(result: Result) -> None:
    paths = [part.path for part in result.models[0].parts]
    assert paths[0] == ("backbone.encode",) and paths[-1] == ("backbone.upsample",)
    for path in paths:
        assert len(path) == 1 or paths.index(path[:-1]) < paths.index(path)
    assert {part.peak_bytes for part in result.models[0].parts}.isdisjoint({None, 0})


def test_round_trip(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(text(result))
    assert read(path, Result) == result
    again = bench(f"{TINY}+{POL}", SETTING, against=str(path))
    assert again.earlier is not None and again.earlier.model == result.models[0]
    assert again.models[0].iterations == 3 and again.ratios is None
    shown = benchmark_report.table(again)
    assert "another run of" in shown and "nothing was paired" in shown and "A / B" in shown


def test_the_table_says_all(result: Result) -> None:
    shown = benchmark_report.table(result)
    for words in ("random weights, seed 0", "plain: as it is trained", "64 × 96", "1 thread,", "CPU time, median"):
        assert words in shown
    for words in ("per iteration", "peak of live tensors", "FLOPs", "cell.update[0]", "outputs differ", "torch "):
        assert words in shown


def test_operations_of_products_of_rows() -> None:
    """Which a sparse model is made of, and which are not a convolution to torch's counter."""
    rows, made = torch.rand(7, 3, 8), product(torch.rand(3, 8, 16))
    wanted = 2 * 7 * 3 * 8 * 16
    assert operations(lambda: made(rows, None))[0] == wanted
    assert operations(lambda: made(rows, torch.zeros(7, 3, 16)))[0] == wanted


@pytest.mark.parametrize(
    ("content", "words"),
    [("{}", "no result of polzoo bench MODEL"), ("[", "no result"), ('{"format": 2, "what": "bench"}', "format")],
)
def test_what_is_no_result(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PolzooError, match=words):
        read(tmp_path / "x.json", Result)


def test_other_settings_are_not_compared(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(text(result))
    with pytest.raises(PolzooError, match="width 96, not 128"):
        bench(TINY, Setting(height=64, width=128, threads=1), against=str(path))
    with pytest.raises(PolzooError, match="3 iterations, not 4"):
        bench(TINY, SETTING, iterations=4, against=str(path))


def test_history_compares_like_with_like(result: Result, tmp_path: Path) -> None:
    models = [model.model_copy(update={"peak_bytes": 2 * model.peak_bytes}) for model in result.models]
    late = result.model_copy(
        update={"models": tuple(models), "run": result.run.model_copy(update={"date": "2099-01-01T00:00:00+00:00"})}
    )
    for name, one in (("late.json", late), ("early.json", result)):
        (tmp_path / name).write_text(text(one))
    rows = benchmark_report.history([tmp_path / "late.json", tmp_path / "early.json"]).splitlines()
    assert "early.json" in rows[1] and rows[1].endswith("1.00   1.00    1.00")
    assert "late.json" in rows[3] and rows[3].endswith("1.00   1.00    2.00")


def test_images_are_resized_and_named(tmp_path: Path) -> None:
    files = []
    for name, grey in (("left", 51), ("right", 102)):
        files.append(str(tmp_path / f"{name}.png"))
        cv2.imwrite(files[-1], np.full((30, 50, 3), grey, np.uint8))
    setting = SETTING.model_copy(update={"images": tuple(files)})
    views = pair(setting)
    assert [tuple(view.shape) for view in views] == [(1, 3, 64, 96)] * 2
    torch.testing.assert_close([view.mean() for view in views], [torch.tensor(0.2), torch.tensor(0.4)])
    assert not torch.equal(*pair(SETTING))
    run = Run.now("polzoo bench …", "cpu", 1)
    assert f"64 × 96 of {files[0]} and {files[1]}, batch 1" in benchmark_report.about_run(setting, run)[0]


def test_bad_settings() -> None:
    with pytest.raises(PolzooError, match="999 threads on"):
        bench(TINY, Setting(threads=999))
    with pytest.raises(PolzooError, match="'meta' cannot be measured; allowed: cpu, cuda"):
        bench(TINY, Setting(device="meta", threads=1))


# ------------------------------------------------------------------------------------------------------------ subjects


def test_fresh_weights_are_seeded_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (open_subject(TINY, seed).model.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), wanted)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_is_named_by_its_hash() -> None:
    subject = open_subject("polstereo-nano")
    assert subject.weights.startswith("sha256 ") and len(subject.weights) == 71


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("polstereo-nan", "did you mean 'polstereo-nano'"),
        ("raft-light", "did you mean 'raft-lite'"),
        ("v2c", "'v2c' is a fusion"),
        ("raft-lite+v2x", "v2x"),
        ("./nowhere", "no folder './nowhere'"),
        ("", "unknown checkpoint or backbone ''"),
    ],
)
def test_neither_a_checkpoint_nor_a_spec(name: str, words: str) -> None:
    with pytest.raises(PolzooError, match=words):
        open_subject(name)


# ------------------------------------------------------------------------------------------------------------- fusions


@pytest.fixture(scope="module")
def fusions() -> FusionResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_fusions, "fresh", lambda function, *args: function(*args))
        backbone = TINY.replace("raft-lite(", 'raft(lookup="alt",').replace(
            "hidden_dim=8,context_dim=8", "hidden_dims=[8,8,8]"
        )
        return benchmark_fusions.bench_fusions(SETTING, backbone=backbone, iterations=2, only=["v1", "v2e", "none"])


def test_fusions_over_none(fusions: FusionResult, tmp_path: Path) -> None:
    none, v1, v2e = fusions.rows
    assert (none.name, v1.name, v2e.name) == ("none", "v1", "v2e")
    assert none.cpu is not None and set(none.cpu.each) == {1.0} and none.peak == 1
    assert v1.cpu is not None and len(v1.cpu.each) == SETTING.rounds
    assert v1.parameters is not None and none.parameters is not None and v1.parameters > none.parameters
    assert v1.peak_bytes and none.peak_bytes and v1.peak == v1.peak_bytes / none.peak_bytes
    assert v2e.error is not None and "no cost volume" in v2e.error and v2e.parameters is None
    shown = benchmark_fusions.table(fusions)
    assert "v2e: the on-demand lookup" in shown and "CPU / none" in shown
    (tmp_path / "fusions.json").write_text(text(fusions))
    assert read(tmp_path / "fusions.json", FusionResult) == fusions
    with pytest.raises(PolzooError, match="no result of polzoo bench MODEL"):
        read(tmp_path / "fusions.json", Result)


def test_the_page_is_true_to_the_code() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    found = {row[0].strip("`"): tuple(row[1:6]) for row in rows if len(row) == 9}
    names = benchmark_fusions.names_of_fusions(OURS)
    assert list(found) == names, "run: polzoo bench fusions --page docs/fusions.md"
    for name in names:
        assert found[name] == benchmark_page.facts(name)[1:], name
        assert f"\n### `{name}`\n" in PAGE.read_text()


def test_renewing_the_page_changes_the_table_alone(fusions: FusionResult, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    benchmark_page.renew(page, fusions)
    first, second = benchmark_page.MARKS
    for mark, side in ((first, 0), (second, 1)):
        assert page.read_text().split(mark)[side * -1] == PAGE.read_text().split(mark)[side * -1]
    assert "| `v1` | `modulate_lookup` |" in page.read_text() and "× (" in page.read_text()
    benchmark_page.renew(page, None)
    assert "× (" not in page.read_text().split(first)[1].split(second)[0]


def test_a_page_that_cannot_be_renewed(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("no marks")
    with pytest.raises(PolzooError, match="has no table to renew"):
        benchmark_page.check_page(tmp_path / "page.md", "raft-lite", [])
    with pytest.raises(PolzooError, match="leave out --only"):
        benchmark_page.check_page(PAGE, "raft-lite", ["v1"])
    with pytest.raises(PolzooError, match="leave out"):
        benchmark_page.check_page(PAGE, "raft", [])


def test_operations_meter_joins_calls() -> None:
    assert Operations.join(None, 2, 3) == 5 and Peak.join(None, 2, 3) == 3  # pyright: ignore[reportArgumentType]
