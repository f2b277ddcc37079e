"""The rulebook against plain loops over pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.updates.flashgru.rulebook import NOWHERE, Rulebook, budget, choose


@pytest.mark.parametrize(("density", "pixels", "wanted"), [(0.2, 100, 20), (0.2, 101, 21), (1e-9, 50, 1), (1, 7, 7)])
def test_a_budget_is_rounded_up(density, pixels, wanted):
    assert budget(density, pixels) == wanted


def test_the_most_important_stay_and_of_equals_the_first():
    importance = torch.tensor([[0.0, 2, 1, 2], [5, 5, 5, math.nan]]).view(2, 1, 2, 2)
    found = choose(importance, 2).flatten(1)
    assert found.tolist() == [[False, True, False, True], [True, True, False, False]]


def test_a_threshold_comes_before_the_budget_and_may_leave_nothing():
    importance = torch.tensor([[0.0, 2, 1, 2], [5, 6, 7, 8]]).view(2, 1, 2, 2)
    assert choose(importance, 3, 2.0).flatten(1).sum(1).tolist() == [2, 3]
    assert not choose(importance, 3, 9.0).any()


@pytest.mark.parametrize(("size", "threshold", "words"), [(0, None, "0 pixels"), (2, 0.5, "NaN")])
def test_bad_input(size, threshold, words):
    with pytest.raises(PolzooError, match=words):
        choose(torch.full((1, 1, 3, 3), math.nan), size, threshold)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(3, 9), st.integers(3, 11), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_sets_are_nested_dilations_and_taps_read_the_right_pixel(b, h, w, density, seed, static):
    mask = torch.rand(b, 1, h, w, generator=torch.Generator().manual_seed(seed)) < density
    most = max(1, int(mask.flatten(1).sum(1).max()))
    book, pixels = Rulebook(mask, 1, most if static else None), b * h * w
    values = torch.arange(1.0, pixels + 1)
    for radius in (0, 1, 3):
        wanted = F.max_pool2d(mask.float(), 2 * radius + 1, 1, radius).flatten() > 0
        ids = book.ids(radius)
        live = ids[ids < pixels]
        assert sorted(live.tolist()) == wanted.nonzero()[:, 0].tolist()
        assert book.share(radius) == wanted.float().mean().item() or math.isclose(
            book.share(radius), wanted.double().mean().item()
        )
        if not static:
            assert torch.equal(book.ids(3)[: len(ids)], ids)
    packed = torch.cat([torch.cat([values, values.new_zeros(1)])[book.ids(2)], values.new_zeros(1)])
    near = F.unfold(values.view(b, 1, h, w), 3, padding=1).transpose(1, 2).reshape(pixels, 9)
    live = book.ids(1) < pixels
    wanted = near[book.ids(1)[live]]
    assert torch.equal(packed[book.taps(1, 2, 3).long()][live], wanted)
    dense = torch.cat([values, values.new_zeros(1)])
    assert torch.equal(dense[book.dense_taps(1, 3).long()][live], wanted)
    assert (book.taps(1, 2, 3) < NOWHERE).all()


@pytest.mark.parametrize("fine", [(8, 12), (7, 11), (3, 3)])
def test_maps_between_levels_are_those_of_pooling_and_interpolation(fine):
    h, w = (-(-n // 2) for n in fine)
    g = torch.Generator().manual_seed(0)
    x, coarse = torch.randn(2, 1, *fine, generator=g), torch.randn(2, 1, -(-h // 2), -(-w // 2), generator=g)
    book = Rulebook(torch.rand(2, 1, h, w, generator=g) < 0.4)
    ids = book.ids(1)
    rows = torch.cat([x.flatten(), x.new_zeros(1)])[book.pooled(1, fine).long()].sum(1) / 9
    torch.testing.assert_close(rows, F.avg_pool2d(x, 3, 2, 1).flatten()[ids])
    index, weight = book.between(1, (coarse.shape[-2], coarse.shape[-1]), torch.float32)
    rows = (coarse.flatten()[index.long()] * weight).sum(1)
    torch.testing.assert_close(rows, F.interpolate(coarse, (h, w), mode="bilinear", align_corners=True).flatten()[ids])


def test_a_budget_fixed_ahead_reads_nothing_from_the_device(monkeypatch):
    """Sizes follow from the budget alone, so that a graph can hold the rulebook."""

    def read(*_):
        raise AssertionError("a value was read")

    mask = torch.rand(2, 1, 9, 12, generator=torch.Generator().manual_seed(0)) < 0.1
    for name in ("item", "tolist", "__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, read)
    one, other = (Rulebook(m, 2, 20) for m in (mask, torch.zeros_like(mask)))
    sizes = [[len(book.ids(r)) for r in range(3)] for book in (one, other)]
    assert sizes[0] == sizes[1] == [40, 216, 216]
    assert one.taps(1, 2, 3).shape == other.taps(1, 2, 3).shape == (216, 9)
