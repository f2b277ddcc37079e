"""Convolutions by tiles give what the plain ones give at these pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from polzoo.updates.flashgru import products, winograd
from polzoo.updates.flashgru.rows import Pixels
from polzoo.updates.flashgru.rulebook import Rulebook


def book_of(size: tuple[int, int, int], density: float, seed: int) -> Rulebook:
    b, h, w = size
    return Rulebook(torch.rand(b, 1, h, w, generator=torch.Generator().manual_seed(seed)) < density)


@pytest.fixture(params=[True, False], ids=["oneDNN", "plain product"])
def product(request, monkeypatch):
    """Both ways to multiply, with blocks so small that there are several."""
    if request.param and not products._ONEDNN:
        pytest.skip("no oneDNN")
    monkeypatch.setattr(products, "_ONEDNN", request.param)
    monkeypatch.setattr(winograd, "TILES", 7)


sizes = st.tuples(st.integers(1, 2), st.integers(3, 9), st.integers(3, 11))


@settings(max_examples=25)
@given(sizes, st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 2), st.sampled_from([1, 3]), st.integers(0, 99))
def test_any_mask_size_and_reach(size, density, radius, kernel, seed):
    book, x = book_of(size, density, seed), torch.randn(size[0], 5, *size[1:])
    weight, bias = torch.randn(4, 5, kernel, kernel), torch.randn(4)
    at = Pixels(book, radius)
    with torch.no_grad():
        rows = at.grow(kernel // 2).take(x)
        found = winograd.convolve(rows.values, weight, bias, book, radius, radius + kernel // 2)
        wanted = at.take(F.conv2d(x, weight, bias, padding=kernel // 2)).values
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_several_blocks(product):
    book, x, weight = book_of((2, 13, 17), 0.3, 0), torch.randn(2, 9, 13, 17), torch.randn(6, 9, 3, 3)
    with torch.no_grad():
        found = winograd.convolve(Pixels(book, 1).take(x).values, weight, None, book, 0, 1)
        wanted = Pixels(book).take(F.conv2d(x, weight, padding=1)).values
    assert book.size(0) > 4 * 7 * 2
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_precision_at_full_width():
    """384 channels: within 1e-6 of the largest value, from double precision."""
    torch.manual_seed(0)
    book, x, weight = book_of((1, 12, 12), 0.5, 0), torch.randn(1, 384, 12, 12), torch.randn(8, 384, 3, 3) / 60
    with torch.no_grad():
        found = winograd.convolve(Pixels(book, 1).take(x).values, weight, None, book, 0, 1)
        wanted = Pixels(book).take(F.conv2d(x.double(), weight.double(), padding=1)).values
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_what_no_pixel_reads_may_be_nan():
    """Rows further away than a pixel reads share its tile's patch, but not its sum."""
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[0, 0, 2, 2] = True
    book, x, weight = Rulebook(mask), torch.randn(1, 3, 8, 8), torch.randn(2, 3, 3, 3)
    x[0, :, 4:] = x[0, :, :, 4:] = torch.nan
    with torch.no_grad():
        found = winograd.convolve(Pixels(book, 2).take(x).values, weight, None, book, 0, 2)
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=1)[0, :, 2:3, 2].t())


def test_a_weight_that_was_written_to_is_transformed_again():
    book, x, weight = book_of((1, 6, 6), 0.4, 0), torch.randn(1, 3, 6, 6), torch.randn(2, 3, 3, 3)
    rows = Pixels(book, 1).take(x).values
    with torch.no_grad():
        first = winograd.convolve(rows, weight, None, book, 0, 1)
        weight.mul_(2)
        second = winograd.convolve(rows, weight, None, book, 0, 1)
    torch.testing.assert_close(second, 2 * first)


def test_fits_says_where():
    book, rows = book_of((1, 6, 6), 0.4, 0), torch.zeros(3, 4)
    assert not winograd.fits(rows, book)
    with torch.no_grad():
        assert winograd.fits(rows, book)
        assert not winograd.fits(rows.double(), book)
        assert not winograd.fits(rows, Rulebook(book.mask, budget=9))
        with torch.autocast("cpu", torch.bfloat16):
            assert not winograd.fits(rows, book)
