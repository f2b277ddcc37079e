"""What the contract does not say: the angle's period, the weights, and that polarization alone can be matched."""

import math

import pytest
import torch
from polzoo_stokes.fusion import ChannelWeight, vectors
from torch.nn import functional as F

import polzoo

SPEC = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)+eac(width=4)"


def maps(turn=0.0, dolp=1.0):
    random = torch.Generator().manual_seed(0)
    found = {}
    for side in ("left", "right"):
        found[f"dolp_{side}"] = dolp * torch.rand(1, 1, 64, 96, generator=random)
        found[f"aolp_{side}"] = math.pi * torch.rand(1, 1, 64, 96, generator=random) + turn
    return found


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = polzoo.build(SPEC).eval()
    with torch.no_grad():
        for p in made.fusion.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return made


@torch.inference_mode()
def features(model, maps):
    random = torch.Generator().manual_seed(1)
    pair = torch.rand(2, 1, 3, 64, 96, generator=random)
    prepared = model.prepare(*pair, polarization=maps)
    return model.fusion.fuse_features(
        prepared.encoding, model.fusion.encode(prepared.call, prepared.encoding), prepared.call
    )


def test_an_angle_and_its_opposite_are_the_same(model):
    one, other, third = (torch.cat(features(model, maps(turn)).matching) for turn in (0.0, math.pi, math.pi / 2))
    assert torch.allclose(one, other, atol=1e-4) and not torch.allclose(one, third, atol=1e-2)


def test_an_angle_without_polarization_says_nothing(model):
    one, other = (torch.cat(features(model, maps(turn, dolp=0.0)).matching) for turn in (0.0, 1.0))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("channels", "kernel"), [(8, 3), (32, 3), (64, 3), (128, 5), (256, 5)])
def test_weights_begin_at_one_and_have_the_kernel_of_the_paper(channels, kernel):
    weight = ChannelWeight(channels)
    assert weight.conv.kernel_size == (kernel,) and torch.equal(
        weight(torch.rand(2, channels, 4, 6)), torch.ones(2, channels, 1, 1)
    )


def test_vectors_are_normalised_stokes():
    dolp, aolp = torch.tensor([0.5]).view(1, 1, 1, 1), torch.tensor([math.pi / 4]).view(1, 1, 1, 1)
    assert torch.allclose(vectors(dolp, aolp).flatten(), torch.tensor([0.5, 0.0, 0.5]), atol=1e-6)


def test_polarization_alone_can_be_matched(model):
    """With features of polarization alone, cosines of the pair's volume are highest at the true disparity."""
    random = torch.Generator().manual_seed(2)
    dolp, aolp = torch.rand(1, 1, 64, 128, generator=random), math.pi * torch.rand(1, 1, 64, 128, generator=random)
    shift = 8
    views = [
        vectors(d, a) for d, a in ((dolp[..., :-shift], aolp[..., :-shift]), (dolp[..., shift:], aolp[..., shift:]))
    ]
    with torch.inference_mode():
        left, right = (F.normalize(model.fusion.encoder(F.avg_pool2d(view, 4)), dim=1) for view in views)
    cosine = torch.einsum("bchi,bchj->bhij", left, right)
    inside = slice(4, left.shape[-1] - 4)
    found = torch.arange(left.shape[-1])[inside] - cosine.argmax(-1)[..., inside]
    assert (found == shift // 4).float().mean() > 0.8
