"""``polzoo data check``: what is right is left alone, and each mistake is found and called what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polzoo.data import check_truth as truth
from polzoo.data.check import KINDS, NOTES, Report, as_json, check
from polzoo.data.check_copies import Copies
from polzoo.data.check_polarity import brighter
from polzoo.data.check_values import check_frame, check_values
from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.data.warp import agreement, filled, warp
from polzoo.errors import PolzooError

SCENES = [*Synthetic(SyntheticOptions(seed=12_001, length=3, height=128, width=192, max_disparity=24.0))]  # pyright: ignore


class Listed:
    """Samples, or errors to be raised, as a data set."""

    def __init__(self, *samples: Sample | Exception) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        if isinstance(sample, Exception):
            raise sample
        return sample


def found(*samples: Sample | Exception) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.index) for finding in check(Listed(*samples)).problems]


def with_truth(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, disparity=np.float32(change(np.asarray(sample.disparity))))


SABOTAGE: dict[str, tuple[Callable[[Sample], Sample], str, dict[str, float]]] = {
    "×2": (with_truth(lambda d: 2 * d), "scale", {"scale": 0.5}),
    "÷2": (with_truth(lambda d: d / 2), "scale", {"scale": 2}),
    "sign": (with_truth(lambda d: -d), "sign", {"scale": -1}),
    "swapped": (lambda s: replace(s, left=s.right, right=s.left), "swapped", {}),
    "+2 px": (with_truth(lambda d: d + 2), "shift", {"shift": -2}),
    "-2 px": (with_truth(lambda d: d - 2), "shift", {"shift": 2}),
    "right moved": (lambda s: replace(s, right=np.roll(s.right, 2, 2)), "shift", {"shift": -2}),
    "right lower": (lambda s: replace(s, right=np.roll(s.right, 2, 1)), "rows", {"lower": 2}),
}


# ── warping ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with structure of some pixels' size, (H, W) in [0, 255]."""
    picture = np.random.default_rng(seed).random((height, width), np.float32)
    return 255 * cv2.normalize(cv2.GaussianBlur(picture, (0, 0), 1.5), None, 0, 1, cv2.NORM_MINMAX)  # pyright: ignore


def test_warp_reads_at_x_minus_d() -> None:
    view = np.arange(40, dtype=np.float32).reshape(2, 20)
    moved, inside = warp(view, np.full((2, 20), 2.5, np.float32))
    assert np.allclose(moved[:, 3:], view[:, 3:] - 2.5)
    assert inside[0].tolist() == [False] * 3 + [True] * 17
    assert np.allclose(warp(view, np.zeros((1, 20), np.float32), top=1)[0], view[1:])
    assert np.allclose(warp(view, np.zeros((1, 20), np.float32), lower=1)[0], view[1:])


@given(gain=st.floats(0.3, 3), offset=st.floats(-50, 50), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_agreement_forgives_gain_and_offset_and_nothing_else(gain: float, offset: float, seed: int) -> None:
    view = noise(40, 60, seed)
    same = agreement(view, np.float32(gain) * view + np.float32(offset))
    assert np.median(same) > 0.85 and same.max() <= 1
    assert np.median(agreement(view, -view)) < -0.85
    assert abs(agreement(view, noise(40, 60, seed + 100)).mean()) < 0.15
    assert np.array_equal(agreement(view, np.zeros_like(view)), np.zeros_like(view))


@given(share=st.floats(0.01, 0.9), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_filled_keeps_what_is_known_and_takes_the_nearest_elsewhere(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    disparity, known = rng.random((12, 17), np.float32), rng.random((12, 17)) < share
    known[3, 4] = True
    full = filled(disparity, known)
    assert np.array_equal(full[known], disparity[known])
    y, x = np.nonzero(known)
    for row, column in np.argwhere(~known):
        distance = (y - row) ** 2 + (x - column) ** 2
        near = np.sqrt(distance) <= np.sqrt(distance.min()) + 0.3  # OpenCV's 5×5 distances are that exact
        assert full[row, column] in disparity[y[near], x[near]]


# ── the truth ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("index", range(3))
def test_a_true_disparity_is_left_alone(index: int) -> None:
    verdict = truth.check_truth(SCENES[index])
    assert verdict.change is None and verdict.stored is not None and verdict.stored > 0.5


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("name", SABOTAGE)
def test_each_mistake_is_called_what_it_is(name: str, index: int) -> None:
    spoil, kind, amount = SABOTAGE[name]
    change = truth.check_truth(spoil(SCENES[index])).change
    assert change is not None and change.kind == kind
    assert {key: getattr(change, key) for key in amount} == amount


def test_views_exchanged_together_with_the_truth() -> None:
    """What a set holds that was recorded with x_right = x_left + d."""
    sample = SCENES[0]
    assert sample.disparity is not None
    mirror = {name: np.ascontiguousarray(getattr(sample, name)[..., ::-1]) for name in ("left", "right", "disparity")}
    verdict = truth.check_truth(replace(sample, **mirror, visible=None, glass=None))
    assert verdict.change is not None and verdict.change.kind == "swapped" and verdict.change.scale == -1


def test_views_exchanged_and_the_truth_negative_to_match() -> None:
    sample = SCENES[0]
    flat = np.full((1, 128, 192), -5, np.float32)
    verdict = truth.check_truth(Sample(np.roll(sample.left, -5, 2), sample.left, disparity=flat))
    assert verdict.change is not None and verdict.change.kind == "swapped" and verdict.stored == verdict.best


@pytest.mark.parametrize("factor", [1 / 256, 0.01, 1 / 3, 4, 16, 256])
def test_units_of_other_sets(factor: float) -> None:
    change = truth.check_truth(with_truth(lambda d: factor * d)(SCENES[1])).change
    assert change is not None and change.kind == "scale" and change.scale == pytest.approx(1 / factor)


def test_a_truth_of_another_pair() -> None:
    change = truth.check_truth(replace(SCENES[0], left=SCENES[1].left, visible=None)).change
    assert change is not None and change.kind == "unrelated"


@pytest.mark.parametrize("name", ["×2", "sign", "+2 px"])
def test_sparse_truth_suffices(name: str) -> None:
    sample = SCENES[0]
    assert sample.disparity is not None
    valid = np.random.default_rng(0).random(sample.disparity.shape) < 0.15
    sparse = replace(sample, valid=valid, disparity=np.where(valid, sample.disparity, 0))
    assert truth.check_truth(sparse).change is None
    change = truth.check_truth(SABOTAGE[name][0](sparse)).change
    assert change is not None and change.kind == SABOTAGE[name][1]


def test_exposures_may_differ() -> None:
    sample = replace(SCENES[0], right=np.float32(0.5) * SCENES[0].right + np.float32(0.2))
    assert truth.check_truth(sample).change is None
    assert (
        truth.check_truth(SABOTAGE["-2 px"][0](sample)).change
        == truth.check_truth(SABOTAGE["-2 px"][0](SCENES[0])).change
    )


def test_large_views_are_looked_at_in_bands_of_their_own_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "PIXELS", 2**13)
    bands = list(truth._bands(128, 192))
    assert len(bands) == 3 and all(band.stop - band.start == truth.BAND for band in bands)
    assert (bands[0].start, bands[-1].stop) == (0, 128)
    assert truth.check_truth(SCENES[0]).change is None
    change = truth.check_truth(SABOTAGE["+2 px"][0](SCENES[0])).change
    assert change is not None and change.shift == -2


def test_without_texture_nothing_is_claimed() -> None:
    plain = np.full((3, 40, 60), 0.5, np.float32)
    plain[:, 0, 0] = 1
    sample = Sample(plain, plain * np.float32(0.9), disparity=np.full((1, 40, 60), 5, np.float32))
    assert truth.check_truth(sample) == (None, None, None)
    assert [finding.kind for finding in check(Listed(sample)).notes] == ["untold"]


def test_real_pairs(shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "PIXELS", 2**16)  # benchmarks/data_check.py looks at all there is
    from polzoo.evaluation.real_pairs import RealPairs, RealPairsOptions

    data = RealPairs(RealPairsOptions(root=str(shared / "data")))
    assert len(data) == 5
    for index in range(len(data)):
        sample = data[index]
        assert truth.check_truth(sample).change is None, sample.name
        for name in ("×2", "÷2", "sign", "swapped", "+2 px", "-2 px"):
            spoil, kind, amount = SABOTAGE[name]
            change = truth.check_truth(spoil(sample)).change
            assert change is not None and change.kind == kind, (sample.name, name)
            assert all(getattr(change, key) == value for key, value in amount.items()), (sample.name, name)


# ── analysers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Glassy:
    """Scenes with much glass, whose stated polarity is ``sign`` times the true one."""

    def __init__(self, analysers: str, sign: float) -> None:
        options = {"height": 160, "width": 240, "glass": 1.0, "max_disparity": 24.0}
        self.data = Synthetic(SyntheticOptions(seed=12_002, length=6, analysers=analysers, **options))  # pyright: ignore
        self.sign = sign

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        sample = self.data[index]
        return replace(sample, polarity=self.sign * sample.polarity)


@pytest.mark.parametrize("analysers", ["parallel-crossed", "crossed-parallel"])
def test_analysers_the_other_way_round(analysers: str) -> None:
    assert not check(Glassy(analysers, 1)).problems
    assert [finding.kind for finding in check(Glassy(analysers, -1)).problems] == ["polarity"]


def test_what_cannot_be_told_is_not_claimed() -> None:
    sample = next(s for i in range(6) if brighter(s := Glassy("parallel-crossed", 1)[i]) is not None)
    for unknown in ({"polarity": 0.0}, {"glass": None}, {"visible": None}, {"disparity": None}):
        assert brighter(replace(sample, **unknown)) is None
    assert brighter(replace(sample, intensity_left=sample.left, intensity_right=sample.right)) is None
    assert brighter(replace(sample, glass=np.zeros_like(sample.glass))) is None


# ── values, masks, copies ─────────────────────────────────────────────────────────────────────────────────────────────


def spoiled(name: str, value: float) -> Sample:
    values = np.array(getattr(SCENES[0], name))
    values[..., 5, 7] = value
    return replace(SCENES[0], **{name: values})


def test_nothing_is_said_of_a_good_sample() -> None:
    assert not list(check_values(SCENES[0]))


@pytest.mark.parametrize(
    ("sample", "kind", "words"),
    [
        (spoiled("left", np.nan), "values", "left has 3 values that are NaN"),
        (spoiled("right", np.inf), "values", "right has 3 values"),
        (spoiled("right", 1.5), "values", "right has values from 0 to 1.5"),
        (spoiled("disparity", np.nan), "values", "disparity, where valid, has 1"),
        (replace(SCENES[0], polarization={"dolp_left": np.full((1, 128, 192), np.nan)}), "values", "dolp_left"),
        (replace(SCENES[0], polarity=0.5), "values", "polarity is 0.5"),
        (replace(SCENES[0], right=SCENES[0].right[:, 1:]), "shape", "right is (3, 127, 192)"),
        (replace(SCENES[0], glass=SCENES[0].glass[..., 1:]), "shape", "glass is (1, 128, 191)"),  # pyright: ignore
        (replace(SCENES[0], right=np.zeros_like(SCENES[0].right)), "blank", "right is one colour"),
        (replace(SCENES[0], right=SCENES[0].left), "same", "the same picture"),
        (replace(SCENES[0], valid=np.zeros((1, 128, 192), bool)), "mask", "valid is empty"),
        (replace(SCENES[0], visible=np.zeros((1, 128, 192), bool)), "mask", "visible is empty"),
        (replace(SCENES[0], glass=np.ones((1, 128, 192), bool)), "mask", "glass covers"),
        (replace(SCENES[0], outside=SCENES[0].visible), "mask", "both visible and outside"),
    ],
)
def test_strange_values(sample: Sample, kind: str, words: str) -> None:
    (complaint,) = check_values(sample)
    assert complaint[0] == kind and words in complaint[1]
    assert (kind, 0) in found(sample)


def test_visible_pixels_outside_of_the_right_view() -> None:
    sample = replace(SCENES[0], visible=np.ones((1, 128, 192), bool))
    (complaint,) = check_frame(sample)
    assert complaint[0] == "mask" and "lies outside" in complaint[1] and ("mask", 0) in found(sample)
    assert not list(check_frame(SCENES[0]))


def test_unknown_values_may_be_anything() -> None:
    sample = spoiled("disparity", np.nan)
    valid = np.isfinite(np.asarray(sample.disparity))
    assert not list(check_values(replace(sample, valid=valid)))
    assert not list(check_values(replace(sample, valid=None)))


def test_copies_are_named_once_with_the_earliest() -> None:
    one, two = SCENES[0], SCENES[1]
    small = [
        cv2.GaussianBlur(view.transpose(1, 2, 0), (0, 0), 0.6).transpose(2, 0, 1) for view in (one.left, one.right)
    ]
    again = replace(one, left=small[0], right=small[1])
    copies = Copies()
    for index, sample in zip((3, 4, 5, 9), (one, two, again, one), strict=True):
        copies.add(index, sample)
    assert list(copies.found()) == [(5, 3, False), (9, 3, True)]


def test_many_copies_across_blocks() -> None:
    copies = Copies()
    for index in range(2500):
        rng = np.random.default_rng(index % 2400)
        copies.add(index, Sample(*rng.random((2, 3, 16, 16), np.float32)))
    assert [(copy.index, copy.of) for copy in copies.found()] == [(i, i - 2400) for i in range(2400, 2500)]


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_bad_pair_does_not_hide_the_others() -> None:
    report = check(
        Listed(PolzooError("a.png is cut off"), SCENES[0], SABOTAGE["×2"][0](SCENES[1]), KeyError("bug"), SCENES[0])
    )
    assert [(f.kind, f.index) for f in report.problems] == [("refused", 0), ("scale", 2), ("refused", 3), ("copy", 4)]
    assert report.problems[0].text == "a.png is cut off" and report.fits.keys() == {1, 2, 4}


def test_pairs_without_truth_are_looked_at() -> None:
    sample = replace(SCENES[0], disparity=None, valid=None, visible=None, glass=None)
    wrong = replace(sample, left=sample.right, right=sample.left)
    report = check(Listed(sample, wrong))
    assert not report.problems
    assert [(f.kind, f.index) for f in report.notes if f.kind == "look"] == [("look", 1)]


def test_limit_and_progress() -> None:
    seen: list[int] = []
    report = check(Listed(*SCENES), limit=2, progress=lambda indices, count: (seen.append(i) or i for i in indices))
    assert report.pairs == 2 and seen == [0, 1] and not report.problems


def test_the_report_as_json() -> None:
    found = as_json(check(Listed(SCENES[0], SABOTAGE["sign"][0](SCENES[1]))), "mine")
    assert (found["data"], found["pairs"], found["problems"]) == ("mine", 2, 1)
    problem = next(f for f in found["findings"] if f["level"] == "problem")
    assert problem["kind"] == "sign" and problem["pair"] == 1
    assert {f["kind"] for f in found["findings"]} <= KINDS.keys() | NOTES.keys()
    assert as_json(Report(0))["agreement"] is None


def test_the_generator_is_clean_without_glass_noise_and_analysers() -> None:
    text = {"seed": 12_003, "length": 2, "height": 128, "width": 160, "glass": 0.0, "noise": False, "analysers": "none"}
    report = check(Synthetic(SyntheticOptions(**text)))  # pyright: ignore[reportArgumentType]
    assert not report.problems and [f.kind for f in report.notes] == ["empty"]
