"""The analytic generator: geometry against an independent brute force, the sensor model against its formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.utils.data import DataLoader

from polzoo.data.options import SyntheticOptions
from polzoo.data.render import Rendered, Scene, expose, reflectance, render
from polzoo.data.sample import Sample
from polzoo.data.surfaces import Surface
from polzoo.data.synthetic import Synthetic, draw_scene
from polzoo.settings import Analysers

FIELDS = ("left", "right", "disparity", "valid", "visible", "glass")
SMALL: dict[str, Any] = {"height": 96, "width": 128, "max_disparity": 24.0}


@pytest.fixture(autouse=True)
def one_thread():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def scene_of(index: int, **options) -> Scene:
    made = SyntheticOptions(**options)
    return draw_scene(np.random.default_rng([made.seed, index]), made)


def assert_same(one: Sample, other: Sample) -> None:
    assert (one.name, one.polarity) == (other.name, other.polarity)
    for field in FIELDS:
        a, b = getattr(one, field), getattr(other, field)
        assert a.dtype == b.dtype and np.array_equal(a, b), field


def warped(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Bilinear right view at (x − shift, y), in float64; written out so as to share nothing with the renderer."""
    rows, columns = shift.shape
    x = np.clip(np.arange(columns) - shift.astype(np.float64), 0, columns - 1)
    first = np.minimum(np.floor(x).astype(int), columns - 2)
    y, part = np.arange(rows)[:, None], x - first
    return picture[:, y, first] * (1 - part) + picture[:, y, first + 1] * part


def card(centre, half, disparity, grey, *, tint=None, slope=(0.0, 0.0), unbounded=False) -> Surface:
    """A rectangle with exact edges on whole pixels, one sprite sample a pixel and an empty border."""
    sprite = np.zeros((2 * half[1] + 2, 2 * half[0] + 2, 4), np.uint8)
    inside = (slice(None), slice(None)) if unbounded else (slice(1, -1), slice(1, -1))
    sprite[(*inside, slice(0, 3))] = grey
    sprite[(*inside, 3)] = 255
    return Surface(centre, disparity, slope, sprite, 1.0, tint=tint, unbounded=unbounded)


def by_hand(*surfaces: Surface, size=(60, 80), **fields) -> Scene:
    environment = np.full((32, 32, 3), 2.0, np.float32)
    wall = card((size[1] / 2, size[0] / 2), (size[1], size[0]), 4.0, 60, unbounded=True)
    return Scene(size=size, focal=100.0, surfaces=(wall, *surfaces), environment=environment, **fields)


# ── one index, one pair ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pair_is_what_sample_promises():
    data = Synthetic(SyntheticOptions(**SMALL, seed=3, length=5))
    sample = data[4]
    assert len(data) == 5 and sample.name == "synthetic/seed3/000004" and sample.polarity == 1.0
    for field, planes, kind in zip(FIELDS, (3, 3, 1, 1, 1, 1), ("f4", "f4", "f4", "?", "?", "?"), strict=True):
        value = getattr(sample, field)
        assert value.shape == (planes, 96, 128) and value.dtype == np.dtype(kind), field
    for view in (sample.left, sample.right):
        assert view.min() >= 0 and view.max() <= 1 and view.std() > 0.01
        assert np.array_equal(np.rint(view * 255).astype(np.float32) / np.float32(255), view)
    assert sample.valid is not None and sample.valid.all()


def test_the_same_index_is_the_same_pair_in_any_process():
    data = Synthetic(SyntheticOptions(**SMALL, seed=7, length=12))
    alone = [data[i] for i in range(12)]
    for workers in (0, 2):
        loader = DataLoader(
            data,  # pyright: ignore[reportArgumentType] it need not inherit torch's Dataset
            batch_size=3,
            num_workers=workers,
            collate_fn=list,
        )
        loaded = [sample for batch in loader for sample in batch]
        assert len(loaded) == 12
        for one, other in zip(alone, loaded, strict=True):
            assert_same(one, other)


def test_index_and_seed_each_change_the_pair():
    first, second = (Synthetic(SyntheticOptions(**SMALL, seed=seed)) for seed in (0, 1))
    assert not np.array_equal(first[0].left, first[1].left)
    assert not np.array_equal(first[0].left, second[0].left)


@pytest.mark.parametrize("index", [-1, 5, 1000])
def test_index_out_of_range(index):
    with pytest.raises(IndexError, match=r"\[0, 5\)"):
        Synthetic(SyntheticOptions(length=5))[index]


@pytest.mark.parametrize(
    "bad",
    [{"height": 31}, {"width": 0}, {"max_disparity": 2}, {"max_disparity": float("nan")}, {"length": 0}, {"seed": -1},
     {"analysers": "crossed"}, {"glass": 1.5}, {"plain": -0.1}, {"objects": -1}, {"heigth": 64}],
)  # fmt: skip
def test_bad_options(bad):
    with pytest.raises(ValidationError):
        SyntheticOptions(**bad)


# ── geometry ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_left_x_is_right_x_minus_disparity():
    rendered = render(by_hand(card((39.5, 29.5), (8, 6), 12.0, 200)))
    for view, shift in ((rendered.left, 0), (rendered.right, 12)):
        rows, columns = np.nonzero(view.disparity > 8)
        assert np.all(view.disparity[rows, columns] == 12)
        assert (columns.min(), columns.max(), rows.min(), rows.max()) == (32 - shift, 47 - shift, 24, 35)
        assert np.allclose(view.diffuse[0][view.disparity > 8], 200 / 255)
    hidden = ~rendered.visible
    expected = np.zeros((60, 80), bool)
    expected[:, :4] = True  # beyond the right frame
    # The card stands at [20, 35] in the right view, before the wall of x in [24, 39]; in the left it is at [32, 47].
    expected[24:36, 24:32] = True
    assert np.array_equal(hidden, expected)


def test_a_slanted_plane_keeps_its_disparity_in_the_right_view():
    surface = card((39.5, 29.5), (14, 12), 14.0, 200, slope=(0.2, -0.1))
    right = render(by_hand(surface)).right.disparity
    rows, columns = np.nonzero(right > 8)
    left_x = columns + right[rows, columns]
    assert len(rows) > 300
    assert np.allclose(right[rows, columns], 14 + 0.2 * (left_x - 39.5) - 0.1 * (rows - 29.5), atol=1e-4)


@pytest.mark.parametrize("tilt", [0.0, 0.15])
def test_a_ball_solves_its_own_equation_in_the_right_view(tilt):
    radius, bulge = 16.0, 4.0
    disc = np.zeros((80, 80, 4), np.uint8)
    cv2.circle(disc, (40, 40), 30, (200, 200, 200, 255), -1)
    form = (1 / radius**2, 0.0, 1 / radius**2)
    ball = Surface((40.0, 30.0), 12.0, (tilt, 0.0), disc, 2.0, height=bulge, form=form)
    right = render(by_hand(ball)).right.disparity
    rows, columns = np.nonzero(right > 8)
    t, s = columns + right[rows, columns] - 40, rows - 30
    expected = 12 + tilt * t + bulge * np.sqrt(np.maximum(1 - (t * t + s * s) / radius**2, 1e-4))
    assert len(rows) > 400
    assert np.abs(right[rows, columns] - expected).max() < 5e-3


def residuals(rendered: Rendered, shift: np.ndarray) -> np.ndarray:
    seen = rendered.visible & ~rendered.left.glass
    return np.abs(warped(rendered.right.diffuse, shift) - rendered.left.diffuse)[:, seen]


@pytest.mark.parametrize("index", range(8))
def test_warping_the_right_view_gives_the_left_one(index):
    rendered = render(scene_of(index, plain=0.0))
    truth = rendered.left.disparity
    right, flipped, still = (residuals(rendered, shift) for shift in (truth, -truth, 0 * truth))
    assert np.median(right) < 0.004 and np.percentile(right, 90) < 0.03
    for wrong in (flipped, still):
        assert np.median(right) <= 0.25 * np.median(wrong)
        assert right.mean() < 0.25 * wrong.mean()


def test_recorded_pairs_warp_to_quantisation_noise_without_noise():
    data = Synthetic(SyntheticOptions(noise=False, asymmetry=False, glass=0.0))
    for index in range(3):
        sample = data[index]
        assert sample.disparity is not None and sample.visible is not None
        error = np.abs(warped(sample.right, sample.disparity[0]) - sample.left)[:, sample.visible[0]]
        assert np.median(error) < 1.5 / 255 and np.percentile(error, 90) < 0.03


@pytest.mark.parametrize("index", range(4))
def test_recorded_pairs_warp_to_the_sensors_own_noise(index):
    """Residuals in units of the σ that the noise model gives them are standard normal but for edges; a pixel's error of
    the disparity would show."""
    scene = scene_of(index, asymmetry=False, glass=0.0, plain=0.0)
    rendered = render(scene)
    left, right = expose(scene, rendered, 0.0, np.random.default_rng(index))
    truth = rendered.left.disparity
    unclipped = rendered.visible & (left > 0.05).all(0) & (left < 0.9).all(0)
    read, shot = scene.noise

    def variance(recorded: np.ndarray) -> np.ndarray:
        return read**2 + shot**2 * recorded + 1 / (12 * 255**2)

    def normal(shift: np.ndarray) -> np.ndarray:
        part = (np.arange(shift.shape[1]) - shift.astype(np.float64)) % 1
        seen = warped(right, shift)
        spread = variance(left) + (part**2 + (1 - part) ** 2) * variance(seen)
        return ((seen - left) / np.sqrt(spread))[:, unclipped]

    found = normal(truth)
    assert 0.95 < 1.4826 * np.median(np.abs(found)) < 1.1
    assert abs(found.mean()) < 0.06 and np.mean(np.abs(found) < 3) > 0.95
    assert 1.4826 * np.median(np.abs(normal(truth + 1))) > 1.12


def forward_visible(rendered: Rendered) -> np.ndarray:
    """Independent of the renderer: splat the left disparity map into the right frame, in float64, nearest wins."""
    disparity = rendered.left.disparity.astype(np.float64)
    rows, columns = disparity.shape
    fine = 8  # right columns in eighths of a pixel
    buffer = np.full((rows, columns * fine), -np.inf)
    y, x = np.mgrid[:rows, :columns]
    after = np.diff(disparity, axis=1, append=disparity[:, -1:])
    before = np.diff(disparity, axis=1, prepend=disparity[:, :1])
    for part in np.linspace(-0.5, 0.5, 4 * fine, endpoint=False):  # a pixel reaches half-way to its neighbours …
        step = before if part < 0 else after
        d = disparity + part * step * (np.abs(step) < 0.9)  # … and slants where they are on one surface
        at = np.rint((x + part - d) * fine).astype(int)
        keep = (at >= 0) & (at < columns * fine)
        np.maximum.at(buffer, (y[keep], at[keep]), d[keep])
    x_right = np.arange(columns) - disparity
    at = np.clip(np.rint(x_right * fine).astype(int), 0, columns * fine - 1)
    nearest = np.take_along_axis(buffer, at, axis=1)
    return (x_right >= 0) & (x_right <= columns - 1) & (nearest < disparity + 0.5)


def test_visible_agrees_with_forward_warping():
    agreement = []
    for index in range(8):
        rendered = render(scene_of(index, seed=11, **SMALL))
        # What comes into the right view from beyond the left frame, a forward warp cannot know: leave that band out.
        known = np.arange(128) - rendered.left.disparity < 128 - 1 - 24
        agreement.append((rendered.visible == forward_visible(rendered))[known].mean())
        assert 0.01 < 1 - rendered.visible.mean() < 0.7
    # Nor can it know an occluder that is itself hidden from the left camera: hence the slack in a single scene.
    assert np.mean(agreement) >= 0.99 and min(agreement) >= 0.98


def test_visible_agrees_with_the_nearest_pixel_of_the_right_view():
    for index in range(8):
        rendered = render(scene_of(index))
        columns = rendered.visible.shape[1]
        x_right = np.arange(columns) - rendered.left.disparity
        at = np.clip(np.rint(x_right), 0, columns - 1).astype(int)
        nearest = np.take_along_axis(rendered.right.disparity, at, axis=1)
        expected = (x_right >= 0) & (x_right <= columns - 1) & (nearest < rendered.left.disparity + 0.5)
        assert (expected == rendered.visible).mean() >= 0.985


def test_both_views_tell_the_same_disparity_where_visible():
    for index in range(5):
        rendered = render(scene_of(index))
        left, right = rendered.left.disparity, rendered.right.disparity
        gap = np.abs(warped(right[None], left)[0] - left)[rendered.visible]
        assert np.median(gap) < 1e-3 and (gap < 0.25).mean() > 0.95


# ── light ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_off_glass_both_analysers_pass_the_same_light_and_on_glass_the_parallel_one_passes_more():
    on_glass = 0
    for index in range(12):
        scene = scene_of(index, glass=1.0)
        rendered = render(scene)
        for view in (rendered.left, rendered.right):
            parallel, crossed = view.analysed(scene.extinction)
            assert np.abs(parallel - crossed)[:, ~view.glass].max() <= 1e-6
            assert np.all((parallel - crossed)[:, view.glass] >= 0)
            on_glass += view.glass.sum()
            assert not view.specular[:, ~view.glass].any()
            if view.glass.any():
                assert (view.specular[:, view.glass] > 0).mean() > 0.98
            leak = 1 / scene.extinction
            half = view.diffuse.astype(np.float64) / 2
            assert np.allclose(parallel, (half + view.specular) + leak * half, rtol=1e-5, atol=1e-7)
            assert np.allclose(crossed, half + leak * (half + view.specular), rtol=1e-5, atol=1e-7)
            assert 100 <= scene.extinction <= 10_000
    assert on_glass > 10_000


def test_a_frontal_pane_follows_fresnel_and_the_extinction_ratio():
    grey, own, tint, ratio = 60 / 255, 20 / 255, 0.8, 250.0
    pane = card((39.5, 29.5), (20, 16), 10.0, 20, tint=(tint,) * 3)
    scene = by_hand(pane, extinction=ratio)
    rendered = render(scene)
    y, x = np.nonzero(rendered.left.glass)
    assert len(y) == 40 * 32
    cosine = 100 / np.sqrt((x - 39.5) ** 2 + (y - 29.5) ** 2 + 100**2)
    refracted = np.sqrt(1 - (1 - cosine**2) / 1.5**2)
    senkrecht = ((cosine - 1.5 * refracted) / (cosine + 1.5 * refracted)) ** 2
    parallel_plane = ((1.5 * cosine - refracted) / (1.5 * cosine + refracted)) ** 2
    face = (senkrecht + parallel_plane) / 2
    mirror = 2 * face / (1 + face)  # two faces, all orders
    diffuse = (1 - mirror) * tint * (1 - own) * grey + own
    specular = 2.0 * mirror
    expected = (diffuse / 2 + specular + diffuse / 2 / ratio) / (diffuse / 2 + (diffuse / 2 + specular) / ratio)
    parallel, crossed = rendered.left.analysed(ratio)
    assert np.allclose((parallel / crossed)[0][y, x], expected, rtol=1e-4)
    assert 1.5 < expected.min() < 3


def test_reflectance_of_glass():
    assert reflectance(np.array(1.0, np.float32)) == pytest.approx(0.04, abs=1e-6)
    brewster = np.cos(np.arctan(1.5))  # the p component vanishes: half of R_s = (cos² − sin²)² is left
    assert reflectance(np.array(brewster, np.float32)) == pytest.approx(0.5 * (1 - 2 * brewster**2) ** 2, abs=1e-5)
    rising = reflectance(np.linspace(1, 1e-3, 200, dtype=np.float32))
    assert np.all(np.diff(rising) > -1e-6) and 0.98 < rising[-1] <= 1


@pytest.mark.parametrize("index", range(4))
def test_the_background_shows_through_glass_where_it_stands(index):
    """A pane of no thickness does not refract: removing the glass changes the light, not where the background is."""
    scene = scene_of(index, glass=1.0, plain=0.0, seed=5)
    bare = replace(scene, surfaces=tuple(s for s in scene.surfaces if s.tint is None))
    with_glass, without = render(scene), render(bare)
    for view, clear in ((with_glass.left, without.left), (with_glass.right, without.right)):
        glass = cv2.erode(view.glass.astype(np.uint8), np.ones((5, 5))) > 0
        if glass.sum() < 200 or clear.diffuse[1][glass].std() < 0.03:
            continue
        assert np.corrcoef(view.diffuse[1][glass], clear.diffuse[1][glass])[0, 1] > 0.7
        beside = cv2.dilate(view.glass.astype(np.uint8), np.ones((5, 5))) == 0
        differing = (view.diffuse != clear.diffuse)[:, beside]  # where only a pane's soft edge peeps out from behind
        assert differing.mean() < 1e-3


@pytest.mark.parametrize("plain_camera", [True, False])
def test_analysers_change_the_light_and_nothing_else(plain_camera):
    common = SMALL | {"glass": 1.0, "noise": not plain_camera, "asymmetry": not plain_camera}
    pairs = {a: Synthetic(SyntheticOptions(analysers=a, **common)) for a in get_args(Analysers)}
    differing = 0.0
    for index in range(6):
        straight, swapped, without = (pairs[a][index] for a in pairs)
        assert (straight.polarity, swapped.polarity, without.polarity) == (1.0, -1.0, 0.0)
        for field in ("disparity", "valid", "visible", "glass"):
            assert np.array_equal(getattr(straight, field), getattr(swapped, field))
            assert np.array_equal(getattr(straight, field), getattr(without, field))
        assert straight.glass is not None
        glass = straight.glass[0]
        # A camera out of focus spreads the light of glass a little: compare well beside it.
        far = cv2.dilate(glass.astype(np.uint8), np.ones((9, 9))) == 0
        assert np.array_equal(straight.left[:, far], swapped.left[:, far])
        assert np.abs(straight.left - without.left)[:, far].max() <= 1.01 / 255  # the exposure's rounding
        differing += (straight.left - swapped.left)[:, glass].sum()
    assert differing > 0


def test_without_analysers_both_cameras_see_the_reflection():
    pane = card((39.5, 29.5), (16, 12), 10.0, 20, tint=(0.9, 0.9, 0.9))
    scene = by_hand(pane)
    rendered = render(scene)
    bright = {p: [view[0][30, 32] for view in expose(scene, rendered, p, None)] for p in (1.0, -1.0, 0.0)}
    assert bright[1.0][0] > bright[0.0][0] > bright[-1.0][0]
    assert bright[-1.0][1] > bright[0.0][1] > bright[1.0][1]
    assert bright[0.0][0] == pytest.approx(bright[0.0][1], abs=2 / 255)


def test_noise_and_asymmetry_touch_the_pictures_only():
    base = Synthetic(SyntheticOptions(**SMALL, noise=False, asymmetry=False))[2]
    for noise, asymmetry in ((True, False), (False, True)):
        other = Synthetic(SyntheticOptions(**SMALL, noise=noise, asymmetry=asymmetry))[2]
        assert not np.array_equal(base.left, other.left)
        assert np.abs(base.left - other.left).mean() < 0.06
        for field in ("disparity", "visible", "glass"):
            assert np.array_equal(getattr(base, field), getattr(other, field))


# ── what scenes are like ──────────────────────────────────────────────────────────────────────────────────────────────


def test_shares_of_glass_of_bare_surfaces_and_of_occlusion_over_fifty_scenes():
    glass, bare, hidden, nearest, farthest = [], [], [], [], []
    for index in range(50):
        rendered = render(scene_of(index))
        left = rendered.left
        grey = left.diffuse.mean(0)
        activity = cv2.blur(np.abs(cv2.Sobel(grey, -1, 1, 0)) + np.abs(cv2.Sobel(grey, -1, 0, 1)), (9, 9))
        glass.append(left.glass.mean())
        bare.append((activity < 0.05).mean())
        hidden.append(1 - rendered.visible.mean())
        nearest.append(left.disparity.max())
        farthest.append(left.disparity.min())
    assert 0.5 < np.mean(np.array(glass) > 0) < 0.85 and 0.04 < np.mean(glass) < 0.25 and max(glass) < 0.8
    assert 0.15 < np.mean(bare) < 0.65
    assert 0.05 < np.mean(hidden) < 0.25 and max(hidden) < 0.5
    assert max(nearest) <= 48 and np.median(nearest) > 24
    assert np.percentile(farthest, 10) >= 1 and np.median(farthest) < 11


TRAINING = {"seed": 1, "length": 100_000, "height": 128, "width": 256}
TEST = {"seed": 9001}


# Published figures stand on these seeds: whatever draws other scenes from them, be it one more random number, makes
# every figure of the README and every shipped checkpoint incomparable, and needs new ones. Means, and not bytes, as
# OpenCV and numpy may round differently from build to build.
@pytest.mark.parametrize(
    ("options", "index", "disparity", "glass", "left"),
    [
        (TEST, 0, 18.46447, 0.13558, 0.47765),
        (TEST, 1, 10.35397, 0.10221, 0.37194),
        (TEST, 2, 14.62191, 0.16432, 0.44650),
        (TRAINING, 5, 13.50956, 0.28183, 0.47880),
    ],
)
def test_scenes_of_a_seed_stay_what_they_are(options, index, disparity, glass, left):
    sample = Synthetic(SyntheticOptions(**options))[index]
    assert sample.disparity is not None and sample.glass is not None
    assert sample.disparity.mean() == pytest.approx(disparity, rel=1e-3)
    assert (sample.glass.mean(), sample.left.mean()) == pytest.approx((glass, left), abs=1e-3)


def test_glass_probability_is_obeyed():
    assert not any(render(scene_of(i, glass=0.0, **SMALL)).left.glass.any() for i in range(10))
    assert sum(any(s.tint for s in scene_of(i, glass=1.0, **SMALL).surfaces) for i in range(10)) == 10


@settings(max_examples=40)
@given(
    height=st.integers(32, 160), width=st.integers(32, 160), seed=st.integers(0, 2**31), index=st.integers(0, 10**6),
    most=st.floats(8, 64), glass=st.sampled_from((0.0, 1.0)), objects=st.integers(0, 20),
)  # fmt: skip
def test_any_scene_is_finite_positive_and_within_the_disparity_bound(height, width, seed, index, most, glass, objects):
    options = SyntheticOptions(
        height=height, width=width, seed=seed, length=10**6 + 1, max_disparity=most, glass=glass, objects=objects
    )
    sample = Synthetic(options)[index]
    for field in FIELDS:
        assert getattr(sample, field).shape[1:] == (height, width)
        assert np.isfinite(getattr(sample, field)).all()
    assert sample.disparity is not None and sample.visible is not None
    assert sample.disparity.min() > 0 and sample.disparity.max() <= most
    assert not sample.visible[0][(np.arange(width) - sample.disparity[0]) < 0].any()
