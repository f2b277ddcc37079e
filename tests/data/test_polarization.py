"""Polarization input: the sensor model by hand, every conversion against polanalyser, and what cannot be converted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polzoo.data.formats import read_mosaic, write_image
from polzoo.data.mosaic import BAYER, SONY, demosaic, spread
from polzoo.data.polarization import (
    Stokes,
    as_views,
    from_angles,
    from_dolp,
    from_mosaic,
    from_stokes,
    read_mosaics,
)
from polzoo.data.render import reflectance
from polzoo.errors import PolzooError

FOUR = (0.0, 45.0, 90.0, 135.0)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="session")
def oracle():
    """polanalyser, an independent implementation by others."""
    return pytest.importorskip("polanalyser", reason="needs polanalyser: pip install 'polzoo[test]'")


def stokes(s0: float, s1: float, s2: float, size: tuple[int, int] = (4, 6), colours: int = 1) -> Stokes:
    """One polarization everywhere."""
    return Stokes(np.broadcast_to(np.array([s0, s1, s2], np.float32)[:, None, None, None], (3, colours, *size)).copy())


def mosaic_of(view: Stokes, layout: Any = SONY, bayer: str | None = None) -> np.ndarray:
    """What a polarization camera records of a view, written out pixel by pixel."""
    height, width = view.values.shape[-2:]
    raw = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            colour = 0 if bayer is None else "RGB".index(bayer[2 * (y // 2 % 2) + x // 2 % 2])
            s0, s1, s2 = view.values[:, colour, y, x]
            twice = math.radians(2 * layout[y % 2][x % 2])
            raw[y, x] = (s0 + s1 * math.cos(twice) + s2 * math.sin(twice)) / 2
    return np.clip(raw, 0, 1)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far two AoLPs differ, modulo π."""
    difference = np.abs(one - other) % np.pi
    return np.minimum(difference, np.pi - difference)


# ── the sensor model (spec "polarization" §1) ─────────────────────────────────────────────────────────────────────────


def test_light_through_analysers_by_hand() -> None:
    view = stokes(1.0, 0.6, 0.0)
    for angle, expected in ((0, 0.8), (90, 0.2), (45, 0.5), (180, 0.8), (-90, 0.2)):
        np.testing.assert_allclose(view.through(angle), expected, atol=1e-6)
    # I∥' = I∥ + I⊥/ER, I⊥' = I⊥ + I∥/ER
    np.testing.assert_allclose(view.through(0, extinction=100), 0.8 + 0.2 / 100, atol=1e-6)
    np.testing.assert_allclose(view.through(90, extinction=100), 0.2 + 0.8 / 100, atol=1e-6)


def test_extinction_is_undone() -> None:
    true = stokes(0.9, 0.3, -0.2)
    leaky = {angle: true.through(angle, extinction=50)[0] for angle in FOUR}
    np.testing.assert_allclose(from_angles(leaky, extinction=50).values, true.values, atol=1e-6)
    assert np.abs(from_angles(leaky).values - true.values).max() > 0.01
    raw = np.stack([leaky[a] for a in (90, 45, 135, 0)])
    np.testing.assert_allclose(
        from_mosaic(_interleaved(raw), extinction=50).values[..., 0, 0], true.values[..., 0, 0], atol=1e-6
    )


def _interleaved(four: np.ndarray) -> np.ndarray:
    """Four pictures (H, W) of the SONY layout's angles as one mosaic (2H, 2W)."""
    raw = np.empty((2 * four.shape[1], 2 * four.shape[2]), four.dtype)
    for corner, picture in zip(np.ndindex(2, 2), four, strict=True):
        raw[corner[0] :: 2, corner[1] :: 2] = picture
    return raw


def test_a_reflection_at_brewsters_angle_is_fully_polarized() -> None:
    """Only the s component, perpendicular to the plane of incidence, is mirrored: here along the picture's y axis."""
    cosine = math.cos(math.atan(1.5))
    refracted = math.sqrt(1 - (1 - cosine**2) / 1.5**2)
    s = ((cosine - 1.5 * refracted) / (cosine + 1.5 * refracted)) ** 2
    p = ((1.5 * cosine - refracted) / (1.5 * cosine + refracted)) ** 2
    assert (s + p) / 2 == pytest.approx(float(reflectance(np.array(cosine, np.float32))), abs=1e-6)
    twice = {angle: math.radians(2 * angle) for angle in FOUR}  # light of 1 arrives unpolarized: ½ in each component
    seen = {a: np.full((2, 2), (s + p) / 4 - (s - p) / 4 * math.cos(t)) for a, t in twice.items()}
    maps = from_angles(seen).maps()
    np.testing.assert_allclose(maps["dolp"], 1, atol=1e-5)
    np.testing.assert_allclose(maps["aolp"], np.pi / 2, atol=1e-5)


def test_what_is_not_defined_is_zero() -> None:
    values = np.zeros((3, 1, 1, 5), np.float32)
    values[:, 0, 0] = np.array([[0, 0, 0], [0, 0.1, 0], [1, -0.0, -0.0], [1, 1, -1e-9], [-1e-3, 0, 0.1]]).T
    maps = Stokes(values).maps()
    assert maps["dolp"][0, 0].tolist() == [0, 0, 0, 1, 0]
    assert maps["aolp"][0, 0, :4].tolist() == [0, 0, 0, 0]  # the fourth is just below π, which is 0
    assert Stokes(-values).through(0).min() == 0


@settings(max_examples=200)
@given(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3))
def test_maps_stay_in_their_ranges(point: list[float]) -> None:
    maps = stokes(*point, size=(1, 1)).maps()
    assert 0 <= maps["dolp"].item() <= 1 and 0 <= maps["aolp"].item() < np.pi
    assert [maps[name].shape for name in ("stokes", "dolp", "aolp")] == [(3, 1, 1), (1, 1, 1), (1, 1, 1)]
    assert {values.dtype for values in maps.values()} == {np.dtype("f4")}


def test_maps_of_a_colour_camera_are_those_of_the_mean() -> None:
    values = RNG.random((3, 3, 4, 4), np.float32)
    colour, grey = Stokes(values).maps(), Stokes(values.mean(1, keepdims=True)).maps()
    for name in colour:
        np.testing.assert_allclose(colour[name], grey[name], atol=1e-6)


# ── from what a camera records, against polanalyser ───────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(
    angles=st.lists(st.integers(0, 179), min_size=3, max_size=7, unique=True),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(("u1", "u2", "f4", "f8")),
    colour=st.booleans(),
)
def test_any_angles_agree_with_polanalyser(oracle, angles, seed, kind, colour) -> None:
    twice = np.deg2rad(2.0 * np.array(angles))
    assume(np.linalg.cond(np.stack((np.ones_like(twice), np.cos(twice), np.sin(twice)), -1)) < 20)
    rng, shape = np.random.default_rng(seed), (5, 7, 3) if colour else (5, 7)
    light = rng.random((len(angles), *shape))
    full = 1 if kind[0] == "f" else np.iinfo(kind).max
    pictures = (light * full).astype(kind)
    found = from_angles(dict(zip(angles, pictures, strict=True)))
    expected = oracle.calcStokes(pictures / np.float64(full), np.deg2rad(angles))  # (H, W[, 3], 3)
    expected = expected if colour else expected[:, :, None]
    np.testing.assert_allclose(found.values.transpose(2, 3, 1, 0), expected, atol=2e-5)
    mean = expected.mean(2)
    lit = mean[..., 0] > 0.05
    dolp, aolp = oracle.cvtStokesToDoLP(mean), oracle.cvtStokesToAoLP(mean)
    maps = found.maps()
    np.testing.assert_allclose(maps["dolp"][0][lit], np.minimum(dolp, 1)[lit], atol=2e-3)
    clear = lit & (dolp > 0.05)
    assert apart(maps["aolp"][0], aolp)[clear].max(initial=0) < 2e-2


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_grey_mosaics_agree_with_polanalyser(oracle, kind) -> None:
    raw = RNG.integers(0, np.iinfo(kind).max, (26, 30), dtype=kind, endpoint=True)
    theirs = dict(zip(FOUR, oracle.demosaicing(raw), strict=True))
    ours = dict(zip((90.0, 45.0, 135.0, 0.0), demosaic(raw.astype(np.float32)), strict=True))
    for angle in FOUR:
        difference = np.abs(ours[angle][0] - theirs[angle])[1:-1, 1:-1]
        assert difference.max() <= 0.5 + 1e-2  # theirs is rounded; they repeat the last rows at the border


def test_colour_mosaics_agree_with_polanalyser(oracle) -> None:
    raw = RNG.integers(0, 65535, (40, 48), dtype=np.uint16, endpoint=True)
    theirs = dict(zip(FOUR, oracle.demosaicing(raw, oracle.COLOR_PolarRGB), strict=True))
    ours = dict(zip((90.0, 45.0, 135.0, 0.0), demosaic(raw.astype(np.float32), "RGGB"), strict=True))
    for angle in FOUR:
        difference = np.abs(ours[angle].transpose(1, 2, 0)[..., ::-1] - theirs[angle])[4:-4, 4:-4]
        assert difference.max() <= 1 + 1e-1  # rounded twice


@pytest.mark.parametrize("name", ["fruits", "polarizer"])
def test_real_raw_frames_agree_with_polanalyser(oracle, shared, name) -> None:
    raw = read_mosaic(shared / "data" / "pol_raw" / f"polanalyser_{name}_IMX250MZR.png")
    assert raw.shape == (2048, 2448) and raw.dtype == np.uint8
    raw = raw[600:1112, 700:1340].astype(np.uint16) * 257  # so that their rounding does not hide a difference
    found = from_mosaic(raw)
    theirs = oracle.calcStokes(np.stack(oracle.demosaicing(raw)) / 65535, np.deg2rad(FOUR))[1:-1, 1:-1]
    inside = np.s_[..., 1:-1, 1:-1]
    assert np.abs(found.values[:, 0][inside].transpose(1, 2, 0) - theirs).max() < 3e-5
    dolp, aolp = oracle.cvtStokesToDoLP(theirs), oracle.cvtStokesToAoLP(theirs)
    maps = found.maps()
    assert np.abs(maps["dolp"][0][inside] - dolp)[theirs[..., 0] > 0.05].max() < 1e-3
    assert apart(maps["aolp"][0][inside], aolp)[dolp > 0.1].max() < 3e-3
    # Of our own four pictures, both fit the same.
    ours = dict(zip((90.0, 45.0, 135.0, 0.0), demosaic(raw.astype(np.float32)), strict=True))
    again = oracle.calcStokes(np.stack([ours[a][0] for a in FOUR]) / 65535, np.deg2rad(FOUR))
    np.testing.assert_allclose(found.values[:, 0].transpose(1, 2, 0), again, atol=1e-6)


# ── mosaics ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", [SONY, ((0, 45), (135, 90)), ((135, 0), (90, 45))])
@pytest.mark.parametrize("bayer", [None, *BAYER])
def test_any_layout_gives_back_what_was_recorded_up_to_the_border(layout, bayer) -> None:
    view = stokes(0.8, 0.3, -0.2, size=(12, 16), colours=1 if bayer is None else 3)
    if bayer is not None:
        view.values[:, 1] *= 0.5
        view.values[:, 2] *= 0.25
    found = from_mosaic(mosaic_of(view, layout, bayer), layout=layout, bayer=bayer)
    np.testing.assert_allclose(found.values, view.values, atol=1e-6)


def test_demosaicing_keeps_readings_and_fills_in_between() -> None:
    y, x = np.indices((10, 14), np.float32)
    ramp = (0.02 * x + 0.03 * y).astype(np.float32)
    for corner, picture in zip(np.ndindex(2, 2), demosaic(ramp), strict=True):
        assert picture.shape == (1, 10, 14) and picture.dtype == np.float32
        taken = np.s_[0, corner[0] :: 2, corner[1] :: 2]
        np.testing.assert_array_equal(picture[taken], ramp[corner[0] :: 2, corner[1] :: 2])
        np.testing.assert_allclose(picture[0, 1:-1, 1:-1], ramp[1:-1, 1:-1], atol=1e-6)  # a line stays a line
        assert picture.min() >= ramp.min() and picture.max() <= ramp.max()


@pytest.mark.parametrize("bayer", [None, "RGGB"])
def test_saturation_is_marked_wherever_it_went(bayer) -> None:
    raw = np.full((24, 24), 0.25, np.float32)
    clean, hot = from_mosaic(raw, bayer=bayer), (11, 13)
    raw[hot] = 1.0
    found = from_mosaic(raw, bayer=bayer)
    assert found.saturated is not None and clean.saturated is not None and not clean.saturated.any()
    touched = np.abs(found.values - clean.values).max((0, 1)) > 0
    assert touched[hot] and not (touched & ~found.saturated).any() and found.saturated.sum() <= 49
    assert np.isfinite(found.values).all() and (found.saturated == spread(raw == 1, bayer)).all()
    burnt = from_mosaic(np.full((8, 8), 255, np.uint8), bayer=bayer)
    assert burnt.saturated is not None and burnt.saturated.all()
    assert burnt.maps()["dolp"].max() == 0  # all angles alike: no polarization


def test_bits_are_the_readings_own() -> None:
    raw = RNG.integers(0, 4096, (8, 8), dtype=np.uint16)
    raw[0, 0] = 4095
    found, share = from_mosaic(raw, bits=12), from_mosaic(np.divide(raw, 4095, dtype=np.float32))
    np.testing.assert_array_equal(found.values, share.values)
    assert found.saturated is not None and found.saturated[0, 0]
    dim = from_mosaic(raw).saturated
    assert dim is not None and not dim.any()


# ── Stokes vectors, DoLP and AoLP that are there already ──────────────────────────────────────────────────────────────


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), colour=st.booleans())
def test_degree_and_angle_there_and_back(seed, colour) -> None:
    rng, shape = np.random.default_rng(seed), (4, 5, 3) if colour else (4, 5)
    s0, dolp, aolp = rng.uniform(0.1, 2, shape), rng.uniform(0.05, 1, shape), rng.uniform(0, np.pi, shape)
    view = from_dolp(s0, dolp, aolp)
    planes = [a if colour else a[..., None] for a in (s0, dolp, aolp)]
    for c in range(3 if colour else 1):
        maps = Stokes(view.values[:, c : c + 1]).maps()
        np.testing.assert_allclose(maps["stokes"][0], planes[0][..., c], atol=1e-6)
        np.testing.assert_allclose(maps["dolp"][0], planes[1][..., c], atol=1e-5)
        assert apart(maps["aolp"][0], planes[2][..., c]).max() < 1e-4
    components = [v.transpose(1, 2, 0) if colour else v[0] for v in view.values.astype(np.float64)]
    np.testing.assert_array_equal(from_stokes(*components).values, view.values)


def test_a_mirrored_view_has_mirrored_angles() -> None:
    view = Stokes(RNG.random((3, 1, 4, 6), np.float32), RNG.random((4, 6)) > 0.5)
    there = view.flipped()
    expected = np.mod(-view.maps()["aolp"][..., ::-1], np.pi)
    np.testing.assert_allclose(there.maps()["aolp"], expected, atol=1e-6)
    np.testing.assert_array_equal(there.maps()["dolp"], view.maps()["dolp"][..., ::-1])
    np.testing.assert_allclose(there.through(30), view.through(-30)[..., ::-1], atol=1e-6)
    back = there.flipped()
    np.testing.assert_array_equal(back.values, view.values)
    assert back.saturated is not None and (back.saturated == view.saturated).all()


def test_rectification_moves_every_plane_alike() -> None:
    view = Stokes(RNG.random((3, 3, 6, 9), np.float32), np.eye(6, 9) > 0)
    y, x = np.indices((6, 7)).astype(np.float32)
    moved = view.rectified(x + 2, y)
    np.testing.assert_allclose(moved.values, view.values[..., 2:], atol=1e-6)
    assert moved.saturated is not None and view.saturated is not None
    assert (moved.saturated == view.saturated[:, 2:]).all()
    between = Stokes(view.values).rectified(x + 0.5, y)
    np.testing.assert_allclose(between.values, (view.values[..., :7] + view.values[..., 1:8]) / 2, atol=1e-6)
    assert between.saturated is None


# ── to what a model is given ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("light", [0.0, 30.0, 117.0])
def test_which_camera_is_parallel_is_what_the_caller_says(light) -> None:
    turned = math.radians(2 * light)
    glass, wall = stokes(0.6, 0.5 * math.cos(turned), 0.5 * math.sin(turned)), stokes(0.6, 0, 0)
    for analysers, sign, expected in (
        ("parallel-crossed", 1, (0.55, 0.05)),
        ("crossed-parallel", -1, (0.05, 0.55)),
        ("none", 0, (0.3, 0.3)),
    ):
        seen = as_views(glass, glass, analysers=analysers, light=light, gamma="linear")
        assert seen.polarity == sign and seen.left.shape == (4, 6, 3) and seen.left.dtype == np.float32
        np.testing.assert_allclose([seen.left.mean(), seen.right.mean()], expected, atol=1e-6)
        plain = as_views(wall, wall, analysers=analysers, light=light, gamma="linear")
        np.testing.assert_allclose([plain.left, plain.right], 0.3, atol=1e-6)  # a diffuse surface: always the same


def test_both_views_have_one_exposure() -> None:
    left, right = stokes(0.4, 0.2, 0), stokes(0.1, 0.02, 0)
    once, twice = (as_views(left, right, exposure=e, gamma="linear", needs="stokes,dolp") for e in (1, 2))
    for side in ("left", "right"):
        np.testing.assert_allclose(getattr(twice, side), 2 * getattr(once, side), atol=1e-6)
        name = f"stokes_{side}"
        np.testing.assert_allclose(twice.polarization[name], 2 * once.polarization[name], atol=1e-6)
        np.testing.assert_array_equal(twice.polarization[f"dolp_{side}"], once.polarization[f"dolp_{side}"])
    assert once.left[0, 0, 0] / once.right[0, 0, 0] == pytest.approx(0.3 / 0.04, rel=1e-5)  # nobody normalised a view
    assert as_views(left, right, exposure=100).left.min() == pytest.approx(1)


def test_display_pictures_are_coded_as_srgb() -> None:
    coded = as_views(stokes(2 * 0.2140, 0, 0), stokes(2 * 0.002, 0, 0))
    assert coded.left.max() == pytest.approx(0.5, abs=1e-3) and coded.right.max() == pytest.approx(12.92 * 0.002)


def test_colours_stay_colours_and_grey_becomes_three_channels() -> None:
    values = RNG.random((3, 3, 4, 6), np.float32)
    seen = as_views(Stokes(values), Stokes(values), analysers="none", gamma="linear")
    np.testing.assert_allclose(seen.left, values[0].transpose(1, 2, 0) / 2)
    grey = as_views(stokes(1, 0.5, 0), stokes(1, 0.5, 0))
    assert np.ptp(grey.left) == 0 and grey.left.flags.c_contiguous


def test_maps_are_what_the_fusion_declares() -> None:
    left, right = stokes(0.4, 0.2, 0), stokes(0.1, 0.0, 0.02)
    names = as_views(left, right, needs="dolp, aolp").polarization
    assert {name: values.shape for name, values in names.items()} == {
        "dolp_left": (1, 4, 6), "dolp_right": (1, 4, 6), "aolp_left": (1, 4, 6), "aolp_right": (1, 4, 6),
    }  # fmt: skip
    np.testing.assert_allclose(names["aolp_right"], np.pi / 4, atol=1e-6)
    assert as_views(left, right, needs="rgb").polarization == as_views(left, right).polarization == {}


def test_frames_from_files(tmp_path) -> None:
    frames = RNG.integers(0, 4096, (2, 12, 16), dtype=np.uint16)
    paths = [str(tmp_path / f"{side}.png") for side in "lr"]
    for path, frame in zip(paths, frames, strict=True):
        assert cv2.imwrite(path, frame)
    for found, frame in zip(read_mosaics(*paths, bits=12), frames, strict=True):
        np.testing.assert_array_equal(found.values, from_mosaic(frame, bits=12).values)
    assert cv2.imwrite(paths[1], (frames[1] // 16).astype(np.uint8))
    refused(("l.png is uint16", "r.png is uint8"), read_mosaics, *paths)
    write_image(paths[1], np.zeros((12, 16, 3), np.uint8))
    refused(("r.png", "1 channel"), read_mosaics, *paths)


# ── what cannot be converted ──────────────────────────────────────────────────────────────────────────────────────────


def refused(words: tuple[str, ...], call: Callable[..., object], *arguments: Any, **options: Any) -> None:
    with pytest.raises(PolzooError) as error:
        call(*arguments, **options)
    text = str(error.value)
    assert "\n" not in text and all(word in text for word in words), text


PLAIN = np.full((4, 4), 0.5)


def angles(*given: float, **changes: Any) -> dict[float, Any]:
    return {angle: changes.get(f"at{angle:g}", PLAIN) for angle in given}


def holed(value: float) -> np.ndarray:
    return np.where(np.eye(4) > 0, value, PLAIN)


@pytest.mark.parametrize(
    ("pictures", "options", "words"),
    [
        ({}, {}, ("three analyser angles", "none", "0, 45, 90, 135")),
        (angles(0, 90), {}, ("not 0, 90", "add some of 45, 135")),
        (angles(0, 45, 180), {}, ("analyser angle 180 is there twice in 0, 45, 180", "modulo 180")),
        (angles(0, 1, 2), {}, ("0, 1, 2 are too close together",)),
        (angles(0, 45, math.nan), {}, ("degrees", "nan")),
        (angles(*FOUR, at45=np.zeros((4, 5))), {}, ("the picture at 45° is float (4, 5)", "alike")),
        (angles(*FOUR, at45=np.zeros((4, 4), np.uint8)), {}, ("at 45° is uint8", "alike")),
        (angles(*FOUR, at90=holed(math.nan)), {}, ("the picture at 90° has NaN",)),
        (angles(*FOUR, at90=holed(255.0)), {}, ("at 90° has values from 0.5 to 255", "[0, 1]")),
        (angles(*FOUR, at0=holed(-0.1)), {}, ("at 0° has values from -0.1",)),
        ({a: np.zeros((4, 4), np.int32) for a in FOUR}, {}, ("int32", "uint8, uint16 or float")),
        ({a: np.zeros((4, 4, 4), np.uint8) for a in FOUR}, {}, ("(4, 4, 4)", "(H, W) or (H, W, 3)")),
        ({a: np.zeros((0, 4), np.uint8) for a in FOUR}, {}, ("(0, 4)",)),
        ({a: np.zeros((4, 4), np.uint8) for a in FOUR}, {"bits": 12}, ("bits=12", "has 8")),
        ({a: np.full((4, 4), 5000, np.uint16) for a in FOUR}, {"bits": 12}, ("5000", "end at 4095")),
        (angles(*FOUR), {"bits": 12}, ("bits=12 is for integers",)),
        (angles(*FOUR), {"extinction": 1.0}, ("extinction ratio is above 1", "1.0")),
        (angles(*FOUR), {"extinction": math.nan}, ("nan",)),
    ],
)  # fmt: skip
def test_pictures_through_analysers_that_do_not_fit(pictures, options, words) -> None:
    refused(words, from_angles, pictures, **options)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((5, 4), {}, ("multiples of 2", "4×5")),
        ((6, 8), {"bayer": "RGGB"}, ("coloured", "multiples of 4", "8×6")),
        ((0, 4), {}, ("(0, 4)",)),
        ((4, 4, 3), {}, ("(H, W)", "(4, 4, 3)")),
        ((4, 4), {"layout": (0, 45, 90, 135)}, ("2×2 angles",)),
        ((4, 4), {"layout": ((0, 45), (90,))}, ("2×2 angles",)),
        ((4, 4), {"layout": ((0, 45), (90, 180))}, ("180 is there twice",)),
        ((4, 4), {"bayer": "RGBG"}, ("'RGBG'", "RGGB")),
    ],
)
def test_mosaics_that_do_not_fit(shape, options, words) -> None:
    refused(words, from_mosaic, np.zeros(shape, np.uint8), **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"s0": -PLAIN}, ("S0 runs from -0.5",)),
        ({"s0": 255 * PLAIN}, ("S0 runs", "127.5", "[0, 1]")),
        ({"s2": holed(1e39)}, ("S2 has NaN or infinite",)),
        ({"s2": holed(30.0)}, ("S2 runs", "30")),
        ({"s1": holed(math.inf)}, ("S1 has NaN or infinite",)),
        ({"s1": PLAIN[:3]}, ("S0 is float (4, 4), S1 is float (3, 4)",)),
        ({"s0": np.zeros((4, 4), np.uint8)}, ("uint8",)),
        ({"s1": 2 * PLAIN}, ("most pixels have DoLP above 1",)),
    ],
)
def test_stokes_vectors_that_cannot_be(change, words) -> None:
    refused(words, lambda **given: from_stokes(given["s0"], given["s1"], given["s2"]), **{
        "s0": PLAIN, "s1": 0.4 * PLAIN, "s2": 0.1 * PLAIN, **change,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dolp": 100 * PLAIN}, ("DoLP runs", "50", "percent")),
        ({"dolp": holed(-0.1)}, ("DoLP runs from -0.1",)),
        ({"aolp": 90 * PLAIN}, ("AoLP reaches 45", "radians")),
        ({"aolp": holed(math.nan)}, ("AoLP has NaN",)),
        ({"s0": -PLAIN}, ("S0 runs",)),
        ({"s0": PLAIN[1:]}, ("alike",)),
    ],
)
def test_degrees_and_angles_that_cannot_be(change, words) -> None:
    given = {"s0": PLAIN, "dolp": 0.2 * PLAIN, "aolp": PLAIN, **change}
    refused(words, from_dolp, *given.values())


def test_noise_is_no_mistake() -> None:
    """A few pixels beyond what light can be are kept as measured; what is made of them is within its range."""
    view = from_stokes(holed(0.0), np.full((4, 4), 0.3), np.zeros((4, 4)))
    assert view.maps()["dolp"].max() <= 1 and view.maps()["dolp"][0, 0, 0] == 0
    seen = as_views(view, view)
    assert np.isfinite([seen.left, seen.right]).all() and min(seen.left.min(), seen.right.min()) >= 0
    assert from_dolp(PLAIN, holed(1.4), PLAIN).maps()["dolp"].max() <= 1
    assert not as_views(*[from_stokes(0 * PLAIN, 0 * PLAIN, 0 * PLAIN)] * 2).left.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"analysers": "paralel-crossed"}, ("did you mean 'parallel-crossed'?",)),
        ({"needs": "stoke"}, ("'stoke_left'", "did you mean 'stokes_left'?")),
        ({"exposure": 0}, ("exposure", "above 0")),
        ({"exposure": math.inf}, ("exposure",)),
        ({"light": math.nan}, ("light", "nan")),
        ({"gamma": "log"}, ("'log'", "linear")),
    ],
)
def test_views_that_cannot_be_made(options, words) -> None:
    refused(words, as_views, stokes(1, 0, 0), stokes(1, 0, 0), **options)


def test_views_of_two_sizes() -> None:
    refused(("(1, 4, 6)", "(1, 4, 8)"), as_views, stokes(1, 0, 0), stokes(1, 0, 0, size=(4, 8)))
    refused(("(1, 4, 6)", "(3, 4, 6)"), as_views, stokes(1, 0, 0), stokes(1, 0, 0, colours=3))


def test_an_angle_is_a_number():
    pictures = {angle: np.zeros((4, 4), np.float32) for angle in ("0", 45, 90)}
    with pytest.raises(PolzooError, match="an angle is a number of degrees, such as 45, not '0'"):
        from_angles(pictures)  # pyright: ignore[reportArgumentType]
