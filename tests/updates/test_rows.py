"""Sparse sites give what the dense operations give at these pixels."""

import pytest
import torch
from torch import nn

from polzoo.backbones.cost_volume import AllPairs, OnDemand, RowDifference, RowVolume, row_lookup
from polzoo.backbones.geometry import correlate, geometry_lookup
from polzoo.fusions.layers import gating_network, pol_corr_residual
from polzoo.interfaces import Channel
from polzoo.updates.flashgru.rows import Grid, Pixels, Rows
from polzoo.updates.flashgru.rulebook import Rulebook
from polzoo.updates.sites import EVERYTHING


@pytest.fixture(params=[None, 12], ids=["as large as they are", "fixed ahead"])
def at(request) -> Pixels:
    mask = torch.rand(2, 1, 9, 13, generator=torch.Generator().manual_seed(0)) < 0.06
    mask[0, 0, 0, 0] = mask[1, 0, -1, -1] = True
    return Pixels(Rulebook(mask, 1, request.param))


def image(channels: int, last: bool = False) -> torch.Tensor:
    x = torch.randn(2, channels, 9, 13, generator=torch.Generator().manual_seed(channels))
    return x.contiguous(memory_format=torch.channels_last) if last else x


def live(rows: Rows) -> torch.Tensor:
    return rows.values[rows.at.ids < rows.at.book.pixels]


def same(rows: Rows, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(live(rows), live(rows.at.take(wanted)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_taking_and_scattering(at, last):
    x = image(5, last)
    scattered = at.take(x).map(float("nan"))
    inside = at.book.mask.expand_as(x)
    assert torch.equal(scattered[inside], x[inside]) and torch.isnan(scattered[~inside]).all()
    assert torch.equal(Grid.of(x).map, x) and not Grid.of(x).rows[-1].any()
    same(at.take(Grid.of(x)), x)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 3, 1), nn.Sigmoid()),
        nn.Sequential(
            nn.Conv2d(4, 2, 7, padding=3, bias=False), nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))
        ),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)).eval(),
        nn.Conv2d(4, 3, (1, 3), padding=(0, 1)),
        pol_corr_residual(4, 5, 3, 0.5),
        gating_network(4, 3),
    ],
    ids=["row by row", "nested", "through a map", "uneven", "residual", "gate"],
)
def test_networks_at_pixels_are_networks_everywhere(at, net):
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = image(4)
    with torch.no_grad():
        same(at.run(net, at.grow(4).take(x)), net(x.clone()))


def test_joining_drops_what_is_further_away(at):
    joined = at.cat(at.take(image(2)), at.grow(2).take(image(3)))
    same(joined, torch.cat([image(2), image(3)], 1))
    with pytest.raises(ValueError, match="do not reach"):
        at.grow(1).cat(at.take(image(2)))


def test_arithmetic(at):
    x, gate, factor = image(3), image(1), nn.Parameter(torch.tensor(0.7))
    rows, one = at.take(x), at.take(gate)
    same(rows + 0.5 * one * rows - 2, x + 0.5 * gate * x - 2)
    same(1 - one, 1 - gate)
    same(rows * (1 + factor * 2 * (one - 0.5)) / 3, x * (1 + factor * 2 * (gate - 0.5)) / 3)
    same(-(2.0 + rows), -(2.0 + x))
    with pytest.raises(ValueError, match="different pixels"):
        _ = rows + at.grow(1).take(x)
    with pytest.raises(ValueError, match=r"at\.take"):
        _ = rows + x


GAPS = [Channel(0, 3), Channel(0, 1), Channel(1, -2), Channel(0, 0)]
GROUPS = [Channel(0, 1, 2), Channel(1, 0, 1), Channel(0, 0), Channel(0, -1)]
LOOKUPS = {
    "all pairs": lambda x, y: AllPairs(x, y).pyramid(row_lookup(3, 2)),
    "some offsets": lambda x, y: AllPairs(x, y).pyramid(GAPS),
    "groups": lambda x, y: RowVolume(torch.einsum("bchw,bchv->bchwv", x, y)).pyramid(GROUPS),
    "on demand": lambda x, y: OnDemand(x, y).pyramid(row_lookup(3, 2), half_pixel=False),
    "difference": lambda x, y: RowDifference(x, y, [Channel(0, o, c) for c in (2, 0) for o in (2, 0, -1)]),
    "geometry": lambda x, y: correlate(x, y, 6, 2).pyramid(geometry_lookup(2, 2, 2)),
    "some of geometry": lambda x, y: correlate(x, y, 6, 2).pyramid(geometry_lookup(2, 2, 2)[::-3]),
}


@pytest.mark.parametrize("empty", [False, True], ids=["", "no pixel"])
@pytest.mark.parametrize("kind", LOOKUPS)
def test_lookups_at_pixels_are_lookups_everywhere(at, kind, empty):
    """Values, and gradients of both views; of disparities inside the image, beyond it and of one that is no number."""
    if empty:
        at = Pixels(Rulebook(at.book.mask & False, 1, at.book.budget))
    views = [image(channels)[:, :4].requires_grad_() for channels in (4, 5)]
    disparity = 14 * torch.rand(2, 1, 9, 13, generator=torch.Generator().manual_seed(1)) - 3
    pyramid = LOOKUPS[kind](*views)
    wide = at.grow(1)
    found, wanted = pyramid.lookup(disparity, wide), wide.take(pyramid.lookup(disparity, EVERYTHING))
    torch.testing.assert_close(live(found), live(wanted), atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(live(wanted))
    gradients = (torch.autograd.grad((weight * live(rows)).sum(), views, retain_graph=True) for rows in (found, wanted))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    if not empty:
        disparity[0, 0, 0, 0] = float("nan")
        nowhere = live(pyramid.lookup(disparity, at)).isnan()
        assert nowhere[0].all() and nowhere.sum() == nowhere.shape[1]
