"""Augmented pairs stay pairs: views, truth, masks, calibration and polarization change alike."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from polzoo.data.augment import augment
from polzoo.data.augment_colour import Colours, recoloured
from polzoo.data.augment_geometry import cropped, erased, mirrored, moved, resized, upside_down
from polzoo.data.augment_options import AugmentOptions
from polzoo.data.check_truth import residual
from polzoo.data.loader import Augmented, StepSampler, collate, loader
from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Camera, Sample
from polzoo.data.stokes import Stokes, from_dolp
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError

SCENES = Synthetic(SyntheticOptions(seed=12_004, length=6, height=96, width=144, max_disparity=16.0, noise=False))
DRAWN = list(SCENES)  # pyright: ignore[reportArgumentType]
IDEAL = SyntheticOptions(
    seed=12_004, length=6, height=96, width=144, max_disparity=16.0, noise=False, asymmetry=False, analysers="none",
    glass=0.0, plain=0.0,
)  # fmt: skip
TEXTURED = [Synthetic(IDEAL)[index] for index in (1, 2, 3)]
CAMERA = Camera(focal=200.0, cx=70.0, cy=50.0, baseline=0.1, doffs=3.0)


def scene(index: int, **changes) -> Sample:
    return replace(DRAWN[index], camera=CAMERA, **changes)


def misfit(sample: Sample) -> float:
    """Mean of |left − right read at x − d|, at most 30 grey levels, over what both views are known to see."""
    assert sample.visible is not None and sample.valid is not None
    found = residual(sample)[sample.visible[0] & sample.valid[0]]
    return float(np.minimum(found[np.isfinite(found)], 30).mean())


def known(sample: Sample) -> np.ndarray:
    assert sample.disparity is not None
    return sample.disparity


def black(height: int, width: int) -> Sample:
    return Sample(np.zeros((3, height, width), np.float32), np.zeros((3, height, width), np.float32))


def shifted(sample: Sample) -> Sample:
    return replace(sample, disparity=known(sample) + np.float32(1))


def same(one: Sample, other: Sample) -> bool:
    return all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Sample) if f.name != "polarization"
    )


# ── geometry, by warping with the truth ───────────────────────────────────────────────────────────────────────────────

STEPS = {
    "mirrored": mirrored,
    "upside down": upside_down,
    "shrunk": lambda s: resized(s, 4 * s.left.shape[1] // 5, 3 * s.left.shape[2] // 4),
    "enlarged": lambda s: resized(s, 5 * s.left.shape[1] // 4, 3 * s.left.shape[2] // 2),
    "cropped": lambda s: cropped(s, 5, 9, s.left.shape[1] - 12, s.left.shape[2] - 20),
    "erased": lambda s: erased(s, 20, 30, 25, 40),
}


@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=3, unique=True), index=st.integers(0, 2))
@settings(max_examples=40)
def test_a_chain_of_steps_leaves_the_truth_true(steps: list[str], index: int) -> None:
    """Over all 157 chains of different steps: 1.54 times the misfit at most (views that shrink grow steeper), and 2.3
    times that or more a pixel off."""
    changed = TEXTURED[index]
    for step in steps:
        changed = STEPS[step](changed)
    assert misfit(changed) < 1.8 * misfit(TEXTURED[index])
    assert misfit(shifted(changed)) > 1.8 * misfit(changed), "a pixel off would be seen"
    assert changed.left.dtype == np.float32 and changed.left.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("step", [name for name in STEPS if name != "erased"])
def test_a_step_that_forgets_the_truth_would_be_seen(step: str) -> None:
    sample = TEXTURED[0]
    changed = STEPS[step](sample)
    if step == "mirrored":
        stale = {name: getattr(sample, name) for name in ("disparity", "valid", "visible")}
    elif step in ("shrunk", "enlarged"):
        stale = {"disparity": changed.disparity * np.float32(sample.left.shape[2] / changed.left.shape[2])}  # pyright: ignore
    else:
        stale = {"disparity": np.roll(changed.disparity, 12, 1)}  # pyright: ignore[reportArgumentType]
    assert misfit(replace(changed, **stale)) > 1.8 * misfit(changed)


def test_what_is_erased_is_no_longer_visible() -> None:
    sample = TEXTURED[0]
    changed = erased(sample, 20, 30, 25, 40)
    assert changed.visible is not None and sample.visible is not None and sample.disparity is not None
    lost = sample.visible & ~changed.visible
    y, x = np.nonzero(lost[0])
    match = x - sample.disparity[0][y, x]
    assert 500 < lost.sum() <= 25 * 60 and y.min() == 20 and y.max() == 44 and 29.4 < match.min() < match.max() < 69.6
    assert misfit(changed) < 1.2 * misfit(sample) < 0.5 * misfit(replace(changed, visible=sample.visible))


@given(height=st.integers(40, 200), width=st.integers(40, 200), index=st.integers(0, 5))
@settings(max_examples=25)
def test_a_size_scales_disparity_and_calibration_alike(height: int, width: int, index: int) -> None:
    sample = scene(index)
    found = resized(sample, height, width)
    assert found.left.shape == (3, height, width) and found.disparity is not None and found.camera is not None
    assert sample.disparity is not None
    factor = width / 144
    assert np.isclose(found.disparity.max(), factor * sample.disparity.max(), rtol=0.05)
    assert np.median(found.disparity) == pytest.approx(factor * np.median(sample.disparity), rel=0.1)
    assert np.median(depth(found)) == pytest.approx(np.median(depth(sample)), rel=0.1)


@given(height=st.integers(3, 40), width=st.integers(3, 60), edge=st.integers(1, 19))
@settings(max_examples=30)
def test_two_surfaces_never_mix(height: int, width: int, edge: int) -> None:
    disparity = np.where(np.arange(20) < edge, 3, 8).astype(np.float32)
    sample = replace(black(10, 20), disparity=np.broadcast_to(disparity, (1, 10, 20)))
    found = resized(sample, height, width).disparity
    assert found is not None and set(np.unique(found / np.float32(width / 20)).round(4)) <= {3, 8}


def depth(sample: Sample) -> np.ndarray:
    assert sample.camera is not None and sample.disparity is not None
    return sample.camera.focal * sample.camera.baseline / (sample.disparity + sample.camera.doffs)


def test_sparse_truth_is_never_mixed_with_unknown_pixels() -> None:
    sample, rng = scene(1), np.random.default_rng(0)
    valid = rng.random(known(sample).shape) < 0.1
    sparse = replace(sample, valid=valid, disparity=np.where(valid, known(sample), np.float32(-1e6)))
    for height, width in ((96, 144), (60, 100), (130, 300)):
        found = resized(sparse, height, width)
        assert found.valid is not None and found.disparity is not None and found.valid.any()
        assert found.disparity[found.valid].min() > 0
    flipped = mirrored(replace(sample, valid=valid, visible=None))
    assert flipped.disparity is not None and flipped.valid is not None
    assert flipped.disparity[flipped.valid].min(initial=1) > 0


def test_a_window_cuts_what_the_right_view_shows() -> None:
    sample = scene(0, outside=np.zeros((1, 96, 144), bool))
    found = cropped(sample, 0, 40, 96, 60)
    x = np.arange(60) - known(found)
    assert found.visible is not None and found.outside is not None and sample.visible is not None
    assert not found.visible[x < 0].any() and found.outside[x < 0].all()
    assert np.array_equal(found.visible[x >= 0], sample.visible[..., 40:100][x >= 0])
    assert found.camera == CAMERA._replace(cx=CAMERA.cx - 40)


def test_a_mirror_twice_is_the_pair_where_both_views_see() -> None:
    sample = scene(2)
    found = mirrored(mirrored(sample))
    assert np.array_equal(found.left, sample.left) and np.array_equal(found.right, sample.right)
    assert found.polarity == sample.polarity and mirrored(sample).polarity == -sample.polarity
    assert found.camera == pytest.approx(CAMERA)
    assert found.valid is not None and found.visible is not None and found.valid.mean() > 0.6
    assert found.disparity is not None and sample.disparity is not None
    error = np.abs(found.disparity - sample.disparity)[found.valid]
    assert np.median(error) < 0.01 and np.mean(error > 0.5) < 0.01
    assert np.array_equal(found.visible, found.valid), "what is carried over is what both views see"


def test_the_mirrors_camera_is_the_right_one_seen_in_the_mirror() -> None:
    """A point X to the right of the left camera is X − B right of the right one, and in the mirror left of it."""
    sample, x, depth = replace(DRAWN[0], camera=CAMERA), 0.3, 2.0
    assert sample.camera is not None
    focal, cx, _, baseline, doffs = sample.camera
    in_the_right_view = focal * (x - baseline) / depth + cx + doffs
    found = mirrored(sample).camera
    assert found is not None and found.doffs == doffs
    last = sample.left.shape[2] - 1
    assert focal * (baseline - x) / depth + found.cx == pytest.approx(last - in_the_right_view)


def test_the_mirrors_truth_is_the_generators() -> None:
    """The right view's own disparity, which the generator knows and hands to nobody."""
    from polzoo.data.render import render
    from polzoo.data.synthetic import draw_scene

    options = SCENES.options
    for index in range(3):
        rendered = render(draw_scene(np.random.default_rng([options.seed, index]), options))
        found = mirrored(DRAWN[index])
        assert found.disparity is not None and found.valid is not None and found.glass is not None
        error = np.abs(found.disparity[0, :, ::-1] - rendered.right.disparity)[found.valid[0, :, ::-1]]
        assert np.quantile(error, 0.95) < 0.05 and np.mean(error > 1) < 0.01
        agree = (found.glass[0, :, ::-1] == rendered.right.glass)[found.valid[0, :, ::-1]]
        assert agree.mean() > 0.98


def test_a_mirror_of_a_slanted_plane_is_exact() -> None:
    x = np.arange(60, dtype=np.float32)
    disparity = np.broadcast_to(2 + 0.1 * x, (1, 4, 60)).astype(
        np.float32
    )  # right x = 0.9 x − 2, d = 2 + 0.1 (x' + 2)/0.9
    views = np.random.default_rng(0).random((2, 3, 4, 60), np.float32)
    found = mirrored(Sample(*views, disparity=disparity))
    assert found.disparity is not None and found.valid is not None
    right = np.arange(60)[::-1]
    inside = (right >= 0) & (right <= 0.9 * 59 - 2)
    assert np.array_equal(found.valid[0, 0], inside)
    assert np.allclose(found.disparity[0, 0][inside], (2 + 0.1 * (right + 2) / 0.9)[inside], atol=1e-4)


@pytest.mark.parametrize("down", [-3, 2])
def test_moved_rows(down: int) -> None:
    sample = scene(0, intensity_left=DRAWN[1].left, intensity_right=DRAWN[1].right)
    found = moved(sample, down)
    inside = slice(max(down, 0), 96 + min(down, 0))
    for name in ("right", "intensity_right"):
        wanted = np.roll(getattr(sample, name), down, 1)
        assert np.array_equal(getattr(found, name)[:, inside], wanted[:, inside])
    assert found.left is sample.left and found.intensity_left is sample.intensity_left


# ── polarization ──────────────────────────────────────────────────────────────────────────────────────────────────────


def polarized(seed: int, height: int = 12, width: int = 17) -> tuple[Sample, dict[str, Stokes]]:
    """A pair with every kind of map, and its DoLP and AoLP planes."""
    rng = np.random.default_rng(seed)
    stokes = {}
    for side in ("left", "right"):
        s0, dolp = rng.uniform(0.2, 1.5, (height, width)), rng.uniform(0.1, 0.9, (height, width))
        stokes[side] = from_dolp(s0, dolp, rng.uniform(0, np.pi, (height, width)))
    maps = {f"{name}_{side}": values for side in stokes for name, values in stokes[side].maps().items()}
    views = rng.random((2, 3, height, width), np.float32)
    return Sample(*views, polarity=1.0, polarization=maps), stokes


def near(one: np.ndarray, other: np.ndarray, name: str) -> bool:
    """Equal; angles, modulo π."""
    apart = np.abs(one - other)
    return bool((np.minimum(apart, np.pi - apart) if name.startswith("aolp") else apart).max() < 2e-5)


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_a_mirror_exchanges_views_and_turns_angles(seed: int) -> None:
    sample, stokes = polarized(seed)
    found = mirrored(sample)
    for side, other in (("left", "right"), ("right", "left")):
        for name, wanted in stokes[other].flipped().maps().items():
            assert near(found.polarization[f"{name}_{side}"], wanted, name), (name, side)
    again = mirrored(found)
    assert all(near(again.polarization[name], values, name) for name, values in sample.polarization.items())
    assert all(v.min() >= 0 and v.max() < np.pi for n, v in found.polarization.items() if n.startswith("aolp"))


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_upside_down_turns_angles_and_exchanges_nothing(seed: int) -> None:
    sample, _ = polarized(seed)
    found = upside_down(sample).polarization
    for side in ("left", "right"):
        assert near(found[f"aolp_{side}"], np.mod(-sample.polarization[f"aolp_{side}"][:, ::-1], np.pi), "aolp")
        sign = np.array((1, 1, -1)).reshape(3, 1, 1)
        assert np.array_equal(found[f"stokes_{side}"], sign * sample.polarization[f"stokes_{side}"][:, ::-1])
        assert np.array_equal(found[f"dolp_{side}"], sample.polarization[f"dolp_{side}"][:, ::-1])


def test_angles_are_averaged_as_directions() -> None:
    steep = np.where(np.arange(16) % 2, 0.1, np.pi - 0.1).astype(np.float32)  # all within 0.1 of 0
    maps = {f"aolp_{side}": np.broadcast_to(steep, (1, 8, 16)) for side in ("left", "right")}
    found = resized(replace(black(8, 16), polarization=maps), 4, 8)
    for values in found.polarization.values():
        assert np.minimum(values, np.pi - values).max() < 1e-3


def test_a_map_that_nobody_knows_in_a_mirror() -> None:
    maps = {f"aop_sine_{side}": np.zeros((1, 8, 16), np.float32) for side in ("left", "right")}
    sample = replace(black(8, 16), polarization=maps)
    assert resized(sample, 4, 8).polarization.keys() == maps.keys()
    with pytest.raises(PolzooError, match=r"'aop_sine_left'\. Allowed: aolp, dolp, stokes"):
        mirrored(sample)


def test_what_is_erased_is_unpolarized() -> None:
    sample, _ = polarized(3)
    found = erased(sample, 2, 3, 4, 5)
    box = (..., slice(2, 6), slice(3, 8))
    assert np.allclose(found.right[box], sample.right.mean((1, 2), keepdims=True))
    maps = found.polarization
    assert np.allclose(maps["stokes_right"][box][1:], 0) and np.allclose(maps["dolp_right"][box], 0)
    assert all(maps[name] is values for name, values in sample.polarization.items() if name.endswith("left"))


# ── colours ───────────────────────────────────────────────────────────────────────────────────────────────────────────

STRONG: dict[str, Any] = {
    "brightness": 0.5,
    "contrast": 0.4,
    "gamma": 0.4,
    "saturation": 0.6,
    "hue": 0.2,
    "asymmetric": 1.0,
}


@given(seed=st.integers(0, 999), keep=st.sampled_from(["polarized", "always"]))
@settings(max_examples=20)
def test_parallel_over_crossed_stays(seed: int, keep: str) -> None:
    sample, _ = polarized(seed)
    sample = replace(sample, intensity_left=sample.right * np.float32(0.5), intensity_right=sample.left)
    found = augment(sample, AugmentOptions(**STRONG, keep_ratio=keep), np.random.default_rng(seed))  # pyright: ignore
    factor = found.left / sample.left
    assert factor.max() - factor.min() < 1e-5 and found.left.max() <= 1
    for name in ("left", "right", "intensity_left", "intensity_right"):
        assert np.allclose(getattr(found, name), factor.mean() * getattr(sample, name), atol=1e-6), name
    stokes = {name: values for name, values in sample.polarization.items() if name.startswith("stokes")}
    assert all(np.allclose(found.polarization[n], factor.mean() * v, atol=1e-5) for n, v in stokes.items())
    assert found.polarization["dolp_left"] is sample.polarization["dolp_left"]


def test_pairs_without_analysers_get_colours_of_their_own() -> None:
    sample = scene(0, polarity=0.0)
    each = augment(sample, AugmentOptions(**STRONG), np.random.default_rng(0))
    alike = augment(sample, AugmentOptions(**{**STRONG, "asymmetric": 0.0}), np.random.default_rng(0))
    assert np.array_equal(each.left, alike.left) and not np.array_equal(each.right, alike.right)
    assert not np.array_equal(each.left, sample.left)
    assert each.right.min() >= 0 and each.right.max() <= 1
    never = augment(scene(0), AugmentOptions(**STRONG, keep_ratio="never"), np.random.default_rng(0))
    assert np.array_equal(never.left, each.left)


def test_each_colour_change_by_hand() -> None:
    view = np.array([0.2, 0.4, 0.6], np.float32).reshape(3, 1, 1)
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6

    def of(**change: float) -> list[float]:
        return recoloured(view, Colours(**change)).ravel().tolist()

    assert of(brightness=0.5) == pytest.approx([0.1, 0.2, 0.3])
    assert of(brightness=2.0) == pytest.approx([0.4, 0.8, 1.0])
    assert of(contrast=0.5) == pytest.approx([grey + 0.5 * (v - grey) for v in (0.2, 0.4, 0.6)])
    assert of(gamma=2.0) == pytest.approx([0.04, 0.16, 0.36])
    assert of(saturation=0.0) == pytest.approx([grey] * 3)
    assert of(hue=1 / 3) == pytest.approx([0.6, 0.2, 0.4], abs=1e-3)
    assert recoloured(view, Colours()) is view


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ALL = AugmentOptions(
    **{**STRONG, "keep_ratio": "never", "crop": (48, 64), "scale": (0.7, 1.4), "stretch": (0.8, 1.25)},  # pyright: ignore
    flip=0.5,
    upside_down=0.5,
    jitter=1,
    erase=0.5,
    erase_side=(8, 16),
)


@pytest.mark.parametrize("index", range(3))
def test_defaults_change_not_a_bit(index: int) -> None:
    sample = scene(index, polarity=float(index - 1))
    found = augment(sample, AugmentOptions(), np.random.default_rng(index))
    assert same(found, sample) and found.polarization == sample.polarization


@given(seed=st.integers(0, 9999), index=st.integers(0, 5))
@settings(max_examples=25)
def test_any_draw_is_a_sample_and_the_same_again(seed: int, index: int) -> None:
    first, second = (augment(scene(index), ALL, np.random.default_rng(seed)) for _ in range(2))
    assert same(first, second)
    assert first.left.shape == first.right.shape == (3, 48, 64) and first.left.dtype == first.right.dtype == np.float32
    for name in ("disparity", "valid", "visible", "glass"):
        values, before = getattr(first, name), getattr(DRAWN[index], name)
        assert values.shape == (1, 48, 64) and values.dtype == before.dtype, name
    assert np.isfinite(first.disparity).all() and first.left.min() >= 0 and first.right.max() <= 1  # pyright: ignore


def test_a_small_pair_is_enlarged_to_the_window() -> None:
    sample = replace(TEXTURED[0], camera=CAMERA)
    found = augment(sample, AugmentOptions(crop=(120, 100)), np.random.default_rng(0))
    assert found.left.shape == (3, 120, 100) and found.camera is not None
    assert found.camera.focal == pytest.approx(200 * 180 / 144)  # both sides by 120 / 96
    assert misfit(found) < 1.8 * misfit(sample) < misfit(shifted(found))


def test_black_pairs_stay_black() -> None:
    found = augment(replace(black(8, 16), polarity=1.0), AugmentOptions(**STRONG), np.random.default_rng(0))
    assert not found.left.any() and not found.right.any()


def test_masks_of_the_left_view_say_nothing_of_the_mirrored_one_without_a_truth() -> None:
    found = mirrored(scene(0, disparity=None, valid=None))
    assert found.glass is None and found.visible is None


def test_unknown_stays_unknown() -> None:
    bare = Sample(DRAWN[0].left, DRAWN[0].right)
    for seed in range(6):
        found = augment(bare, ALL, np.random.default_rng(seed))
        assert all(getattr(found, name) is None for name in ("disparity", "valid", "visible", "glass", "camera"))


@pytest.mark.parametrize(
    "wrong", [{"scale": (2.0, 1.0)}, {"flip": 1.5}, {"crop": (0, 5)}, {"brightness": -0.1}, {"keep_ratio": "no"}]
)
def test_options_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        AugmentOptions(**wrong)


def test_batches_depend_on_seed_and_position_alone() -> None:
    def batches(
        steps: range, seed: int = 3, rank: int = 0, world: int = 1, options: AugmentOptions = ALL
    ) -> list[dict]:
        return list(loader(SCENES, StepSampler(6, 2, seed, steps, rank, world), 0, options))  # pyright: ignore

    whole = batches(range(6))
    for late, wanted in zip(batches(range(3, 6)), whole[3:], strict=True):
        assert all(late[name].equal(values) for name, values in wanted.items())
    assert not whole[0]["left"].equal(whole[3]["left"]), "the next epoch draws anew"
    assert not batches(range(1), seed=4)[0]["left"].equal(whole[0]["left"])
    ranks = [batches(range(3), rank=rank, world=2) for rank in range(2)]
    assert ranks[1][0]["left"].equal(whole[1]["left"]) and ranks[0][1]["left"].equal(whole[2]["left"])
    copied = pickle.loads(pickle.dumps(Augmented(SCENES, StepSampler(6, 2, 3, range(6)), ALL)))  # as a worker gets it
    assert collate([copied[6], copied[7]])["left"].equal(whole[3]["left"])
    plain = list(loader(SCENES, StepSampler(6, 2, 3, range(2)), 0))
    quiet = batches(range(2), options=AugmentOptions())
    assert all(a[name].equal(b[name]) for a, b in zip(plain, quiet, strict=True) for name in a)
