"""Evaluation: exact averages, empty and unknown regions, methods side by side, the file and the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation import report
from polzoo.evaluation.averages import Tally
from polzoo.evaluation.evaluate import commit, evaluate, open_data
from polzoo.evaluation.measure import measure
from polzoo.evaluation.methods import Gate, Method, Prediction
from polzoo.evaluation.metrics import EPE
from polzoo.evaluation.protocol import Protocol
from polzoo.evaluation.summary import Summary
from polzoo.registry import registry


class Constant:
    """A method that says 10 everywhere and nothing in the first column."""

    def __init__(self, options: object) -> None:
        pass

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        found = np.full(left.shape[1:], 10, np.float32)
        found[:, 0] = np.nan
        return found


class Wrong(Constant):
    """A method that gives one axis too many."""

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return super().__call__(left, right)[None]


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    with registry().temporary("baseline", "constant", Constant), registry().temporary("baseline", "wrong", Wrong):
        yield


def pair(disparity: float, width: int, glass: bool | None = False, height: int = 4) -> Sample:
    """A plain pair of one disparity."""
    picture, shape = np.full((3, height, width), 0.5, np.float32), (1, height, width)
    mask = None if glass is None else np.full(shape, glass)
    return Sample(picture, picture, 0.0, np.full(shape, disparity, np.float32), np.ones(shape, bool), glass=mask)


# errors 2 and 4 on 4 × 9 and 4 × 19 predicted pixels; 40 and 80 pixels in all
PAIRS = [pair(12, 10), pair(14, 20)]


def figures(result: dict, metric: str, region: str = "all") -> dict:
    """The averages of the first method, without their interval."""
    found = dict(result["methods"][0]["regions"][region][metric])
    found.pop("interval")
    return found


def test_both_averages_by_hand() -> None:
    result = evaluate(["constant"], PAIRS, data="two pairs")
    assert figures(result, "epe") == {
        "pixels": pytest.approx((36 * 2 + 76 * 4) / 112),
        "pairs": pytest.approx(3.0),
        "pixel_count": 112,
        "pair_count": 2,
    }
    assert figures(result, "bad-1")["pixels"] == 100
    assert figures(result, "bad-3")["pixels"] == pytest.approx(100 * (4 + 80) / 120)
    assert figures(result, "bad-3")["pairs"] == pytest.approx((10 + 100) / 2)
    assert figures(result, "density")["pixels"] == pytest.approx(100 * 112 / 120)
    assert result["data"] == {"spec": "two pairs", "pairs": 2, "of": 2, "names": ["", ""]}


def test_averages_do_not_depend_on_order() -> None:
    rng = np.random.default_rng(0)
    pairs = [pair(float(d), int(w)) for d, w in zip(rng.uniform(0, 60, 9), rng.integers(8, 30, 9), strict=True)]
    forth, back = evaluate(["constant"], pairs), evaluate(["constant"], pairs[::-1])
    for label in forth["metrics"]:
        assert figures(forth, label) == figures(back, label)


def test_an_empty_region_is_left_out_and_counted_never_zero() -> None:
    result = evaluate(["constant"], [pair(12, 10, glass=True), pair(14, 20, glass=False)])
    assert result["regions"]["glass"] == {"pairs": 1, "empty": 1, "unknown": 0}
    assert figures(result, "epe", "glass") == {"pixels": 2, "pairs": 2, "pixel_count": 36, "pair_count": 1}
    nowhere = evaluate(["constant"], [pair(12, 10)])
    assert figures(nowhere, "bad-3", "glass") == {"pixels": None, "pairs": None, "pixel_count": 0, "pair_count": 0}


def test_an_unknown_region_is_counted_apart_and_absent_where_no_pair_has_it() -> None:
    result = evaluate(["constant"], [pair(12, 10, glass=None), pair(14, 20, glass=True)])
    assert result["regions"]["glass"] == {"pairs": 1, "empty": 0, "unknown": 1}
    assert "visible" not in result["regions"] and "visible" not in result["methods"][0]["regions"]


def test_methods_side_by_side_see_the_same_pairs() -> None:
    data, name = open_data("synthetic(seed=7001,length=3,height=64,width=96,max_disparity=16.0)")
    specs = ["sgbm", "sgbm-filled(num_disparities=32)", "constant"]
    both = evaluate(specs, data, data=name, limit=2)
    for place, spec in enumerate(specs):
        alone = evaluate([spec], data, data=name, limit=2)["methods"][0]
        together = both["methods"][place]
        assert alone["regions"] == together["regions"] and alone["name"] == spec
    names = [f"synthetic/seed7001/{i:06d}" for i in range(2)]
    assert both["data"] == {"spec": name, "pairs": 2, "of": 3, "names": names}
    assert both["methods"][1]["spec"] == "sgbm-filled(num_disparities=32)"
    assert figures({"methods": both["methods"][1:]}, "density")["pixels"] == 100


def test_everything_but_times_is_the_same_again() -> None:
    data, name = open_data("synthetic(seed=7001,length=2,height=64,width=96,max_disparity=16.0)")

    def run() -> dict:
        result = evaluate(["sgbm-filled"], data, data=name)
        run = result.pop("run")
        assert run["versions"]["numpy"] == np.__version__ and run["median_ms"]["sgbm-filled"] > 0
        return result

    assert run() == run()


def test_a_further_metric_and_a_known_one_under_another_spelling() -> None:
    texts = ("bad(threshold=0.5)", "bad", "bad(threshold=3.0)")
    result = evaluate(["constant"], PAIRS, metrics=texts)
    assert list(result["metrics"]) == ["bad-0.5", "bad-3"]


def test_a_checkpoint_runs_as_its_model_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    checkpoint = pytest.importorskip("polzoo.checkpoint")
    import polzoo

    torch.manual_seed(0)
    tiny = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    spec = f"{tiny}+v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"
    folder = checkpoint.save(polzoo.build(spec).eval(), tmp_path / "tiny")
    data, _ = open_data("synthetic(seed=7001,length=1,height=64,width=96,max_disparity=16.0)")
    result = evaluate([f"dir:{folder}"], data, iterations=2)
    model, sample = polzoo.load(f"dir:{folder}"), data[0]
    with torch.no_grad():
        views = (torch.from_numpy(view)[None] for view in (sample.left, sample.right))
        expected = model(*views, polarity=torch.tensor([sample.polarity]), iterations=2).disparity[0, 0].numpy()
    errors = np.abs(expected.astype(np.float64) - sample.disparity[0])
    assert figures(result, "epe")["pixels"] == pytest.approx(errors.mean(), rel=1e-5)
    assert result["methods"][0]["iterations"] == 2 and result["methods"][0]["kind"] == "checkpoint"


def test_maps_that_a_fusion_does_not_read_are_left_alone() -> None:
    pytest.importorskip("torch")
    tiny = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    sample, stokes = scene(), {"stokes_left": np.ones((3, 64, 96), np.float32)}
    one, other = (evaluate([tiny], [s], iterations=1) for s in (sample, replace(sample, polarization=stokes)))
    assert one["methods"] == other["methods"] and one["methods"][0]["gate_auc"] is None


def test_a_gate_that_is_glass_scores_one_and_the_curve_ends_with_the_figure() -> None:
    """A method of the same form as a model's: two iterations, the gate open on glass alone."""
    sample = scene()
    assert sample.disparity is not None and sample.glass is not None
    steps = (sample.disparity[0] + 4, sample.disparity[0] + 1)
    prediction = Prediction(steps[-1], steps, sample.glass[0].astype(np.float32))
    record = measure(0, sample, [Method("m", "checkpoint", "m", lambda _: prediction, 2)], [EPE()], Protocol())
    (method,) = Summary([record], [EPE()], Protocol()).methods
    assert method["gate_auc"] == {"mean": 1, "pairs": 1} and method["curve"] == pytest.approx([4, 1])


def scene() -> Sample:
    return open_data("synthetic(seed=7001,length=1,height=64,width=96,max_disparity=16.0,glass=1.0)")[0][0]


def test_a_sparse_gate_keeps_what_an_iteration_before_said() -> None:
    torch = pytest.importorskip("torch")
    gate, nan = Gate(), float("nan")
    for values in ([1.0, 2, 3, nan], [nan, 5, nan, nan]):
        both = torch.tensor([[[values], [[v + 2 for v in values]]]])  # (1, 2, 1, 4): the mean over channels is v + 1
        gate.record(0, "gate", both)
        gate.record(0, "residual", 9 * both)
    gate.record(None, "gate", torch.full((1, 1, 1, 4), 7.0))
    assert gate.value is not None and np.array_equal(gate.value, [[2, 6, 4, nan]], equal_nan=True)


def test_the_commit_is_that_of_the_checkout() -> None:
    found = commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{12}\+?", found)


def test_tallies_add_up_exactly() -> None:
    tally = Tally()
    for total, count in ((1e16, 3), (1.0, 0), (-1e16, 4)):
        tally.add(total, count)
    assert tally.result()["pixels"] == 1 / 7  # a running sum would have lost the 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "name at least one method"),
        (["sgbm", "sgbm"], "named twice"),
        (["sgmb-filled"], "did you mean 'sgbm-filled'"),
        (["sgbm(block=3)"], "unknown option of baseline 'sgbm'.*block_size"),
        (["sgbm(block_size=4)"], "block_size must be odd"),
        (["raft-light+v2c"], "did you mean 'raft-lite'"),
        (["rafft"], "unknown checkpoint, baseline or backbone 'rafft'; did you mean 'raft'"),
        (["dir:/nowhere/at/all"], "nowhere"),
        (["wrong"], r"'wrong' gave a disparity of shape \(1, 4, 10\)"),
    ],
)
def test_methods_that_cannot_be_evaluated(names: list[str], words: str) -> None:
    with pytest.raises(PolzooError, match=words) as caught:
        evaluate(names, PAIRS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("synthetc", "did you mean 'synthetic'"),
        ("synthetic(sede=1)", "did you mean 'seed'"),
        ("/nowhere/pairs", "/nowhere/pairs"),
        ("nowhere.csv", "nowhere.csv"),
    ],
)
def test_data_that_are_not_there(text: str, words: str) -> None:
    with pytest.raises(PolzooError, match=words) as caught:
        open_data(text)
    assert "\n" not in str(caught.value)


def test_no_pairs_or_no_truth() -> None:
    with pytest.raises(PolzooError, match="no pair to evaluate on in nothing"):
        evaluate(["constant"], [], data="nothing")
    blind = Sample(PAIRS[0].left, PAIRS[0].right, name="blind")
    with pytest.raises(PolzooError, match="'blind' has no true disparity"):
        evaluate(["constant"], [blind])


def test_the_table_and_the_file(tmp_path: Path) -> None:
    result = evaluate(["constant", "baseline=constant"], [pair(12, 10, True), pair(14, 20)], data="d", command="c")
    lines = report.table(result).splitlines()
    assert lines[0] == "d: 2 pairs, averages over pixels"
    assert lines[2].split() == ["constant", "baseline=constant"]
    assert "glass (1 pair, 1 empty)" in lines and "  epe [px]" in lines[4] and lines[4].split()[2:] == ["3.357"] * 2
    assert "out-of-frame (0 pairs, 2 empty)" not in lines and "median ms per pair" in lines[-1]
    (tmp_path / "other").write_text("stays")
    path = report.write([result], tmp_path)
    assert json.loads(path.read_text()) == {"format": 2, "evaluations": [result]} and result["run"]["command"] == "c"
    assert {file.name for file in tmp_path.iterdir()} == {"eval.json", "other"}


def test_each_pair_has_its_own_figures() -> None:
    result = evaluate(["constant"], [pair(12, 10, True), pair(14, 20)], data="d")
    assert len(result["data"]["names"]) == 2
    (method,) = result["methods"]
    each, over = method["each"]["epe"], method["regions"]["all"]["epe"]
    assert sum(each) / 2 == pytest.approx(over["pairs"])
    alone = [
        evaluate(["constant"], [p])["methods"][0]["regions"]["all"]["epe"]["pixels"]
        for p in (pair(12, 10, True), pair(14, 20))
    ]
    assert each == alone


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate(["constant"], PAIRS)
    old = report.write([result], tmp_path).read_text()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polzoo.data.files.os.fsync", fail)
    with pytest.raises(PolzooError, match="No space left"):
        report.write([result], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["eval.json"] and (tmp_path / "eval.json").read_text() == old
