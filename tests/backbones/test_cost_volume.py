"""The lookup against a brute-force oracle, and the sign of disparity."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polzoo.backbones.cost_volume import AllPairs, OnDemand, RowVolume, row_lookup
from polzoo.interfaces import Channel
from polzoo.updates.sites import EVERYTHING


def oracle(values: np.ndarray, channels, disparity: np.ndarray, half_pixel: bool) -> np.ndarray:
    """(B, G, h, w, w′), (B, h, w) → (B, K, h, w) in float64, one number at a time."""
    levels = [values.astype(np.float64)]
    while levels[-1].shape[-1] > 1:
        last = levels[-1][..., : levels[-1].shape[-1] // 2 * 2]
        levels.append((last[..., 0::2] + last[..., 1::2]) / 2)
    out = np.zeros((values.shape[0], len(channels), *disparity.shape[1:]))
    for k, (level, offset, group) in enumerate(channels):
        for b, y, x in np.ndindex(*disparity.shape):
            row = levels[min(level, len(levels) - 1)][b, group, y, x]
            d = float(disparity[b, y, x])
            at = ((x - d + 0.5) / 2**level - 0.5 if half_pixel else (x - d) / 2**level) - offset
            for tap in (np.floor(at), np.floor(at) + 1):
                if 0 <= tap < len(row):
                    out[b, k, y, x] += row[int(tap)] * (1 - abs(at - tap))
    return out


@st.composite
def lookups(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, groups, high, wide = (draw(st.integers(1, most)) for most in (2, 3, 3, 19))
    levels = draw(st.integers(1, max(1, int(np.log2(wide)) + 1)))
    channel = st.builds(Channel, st.integers(0, levels - 1), st.integers(-6, 6), st.integers(0, groups - 1))
    channels = draw(st.lists(channel, min_size=1, max_size=12))
    spread = draw(st.sampled_from([0.0, 1.0, wide, 5 * wide, 1e4, 1e30]))
    disparity = (rng.uniform(-spread, spread, (batch, high, wide))).astype(np.float32)
    disparity = np.where(rng.random(disparity.shape) < 0.3, np.round(disparity), disparity)  # exact cells as well
    values = rng.standard_normal((batch, groups, high, wide, wide)).astype(np.float32)
    return values, channels, disparity.astype(np.float32), draw(st.booleans())


@settings(max_examples=120)
@given(lookups())
def test_equals_the_oracle(case):
    values, channels, disparity, half_pixel = case
    pyramid = RowVolume(torch.from_numpy(values)).pyramid(channels, half_pixel=half_pixel)
    found = pyramid.lookup(torch.from_numpy(disparity)[:, None], EVERYTHING).numpy()
    assert found.shape == (len(values), len(channels), *disparity.shape[1:])
    near = np.abs(disparity) < 1e3  # float32 positions blur what is read, but not that nothing is there
    expected = oracle(values, channels, disparity, half_pixel)
    assert np.abs(found - expected).max(1)[near].max(initial=0) <= 1e-4
    assert not found.transpose(0, 2, 3, 1)[~near & (np.abs(disparity) > 2e3)].any()


@settings(max_examples=40)
@given(lookups())
def test_on_demand_equals_the_volume(case):
    _, channels, disparity, half_pixel = case
    channels = [c._replace(group=0) for c in channels]
    features = torch.randn(2, disparity.shape[0], 5, *disparity.shape[1:], generator=torch.Generator().manual_seed(0))
    kinds = (AllPairs(*features, normalise=half_pixel), OnDemand(*features, normalise=half_pixel))
    at = torch.from_numpy(disparity)[:, None]
    kept, made = (v.pyramid(channels, half_pixel=half_pixel).lookup(at, EVERYTHING) for v in kinds)
    assert (kept - made).abs().max() <= 1e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("volume", [AllPairs, OnDemand])
def test_what_is_no_number_stays_none(volume, bad):
    features = torch.rand(2, 1, 4, 3, 17)
    disparity = torch.rand(1, 1, 3, 17)
    pyramid = volume(*features).pyramid(row_lookup(3, 2))
    healthy = pyramid.lookup(disparity, EVERYTHING)
    disparity[0, 0, 1, 5] = bad
    found = pyramid.lookup(disparity, EVERYTHING)
    assert found[0, :, 1, 5].isnan().all()
    found[0, :, 1, 5] = healthy[0, :, 1, 5]
    assert torch.equal(found, healthy)


@pytest.mark.parametrize("half_pixel", [True, False])
@pytest.mark.parametrize("shift", [3, 6, 11])
def test_disparity_is_positive(half_pixel, shift):
    """With f2(x − D) = f1(x) every level's lookup peaks at k = 0 for +D, and not for −D."""
    left = torch.randn(1, 64, 4, 96, generator=torch.Generator().manual_seed(shift))
    right = left.roll(-shift, -1)
    channels = row_lookup(4, 4)
    pyramid = AllPairs(left, right).pyramid(channels, half_pixel=half_pixel)
    inside = slice(48, 64)  # windows of the coarsest level reach 40 cells

    def profile(disparity: float) -> torch.Tensor:
        found = pyramid.lookup(torch.full((1, 1, 4, 96), disparity), EVERYTHING)
        return found[..., inside].mean((0, 2, 3)).unflatten(0, (4, 9))

    right_sign, wrong_sign = profile(float(shift)), profile(float(-shift))
    assert (right_sign.argmax(1) == 4).all()
    assert (wrong_sign[:, 4] < right_sign[:, 4] / 2).all()
    assert [c.offset for c in channels[:9]] == [4, 3, 2, 1, 0, -1, -2, -3, -4], "k = −4 looks at the larger disparity"


def test_offset_names_the_disparity_looked_at():
    """Channel (level, offset) looks at d + offset · 2^level."""
    left = torch.randn(1, 64, 2, 80, generator=torch.Generator().manual_seed(1))
    right = left.roll(-9, -1)
    channels = [Channel(0, 2), Channel(0, -2), Channel(1, 1), Channel(1, -1)]
    pyramid = AllPairs(left, right).pyramid(channels)
    for disparity, best in ((7.0, 0), (11.0, 1)):
        found = pyramid.lookup(torch.full((1, 1, 2, 80), disparity), EVERYTHING)
        assert found[..., 30:60].mean((0, 2, 3)).argmax() == best


def test_gradient_of_the_lookup_is_its_adjoint():
    """The lookup is linear in the volume, so ⟨w, L u⟩ = ⟨∂⟨w, L v⟩/∂v, u⟩ for any u, v, w."""
    rng = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 1, 2, 3, 9, 9, generator=rng)
    disparity = 12 * torch.rand(1, 1, 3, 9, generator=rng) - 2
    channels = [Channel(0, 1), Channel(0, 0, 1), Channel(2, -1), Channel(1, 3)]

    def look(values):
        return RowVolume(values).pyramid(channels).lookup(disparity, EVERYTHING)

    w = torch.randn(1, 4, 3, 9, generator=rng)
    (gradient,) = torch.autograd.grad((w * look(v.requires_grad_())).sum(), v)
    torch.testing.assert_close((w * look(u)).sum(), (gradient * u).sum(), rtol=1e-4, atol=1e-4)
