"""Cross-attention: safe for every mask, never a matrix of all pairs, identity where it claims so."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import polzoo
from polzoo.errors import PolzooError
from polzoo.fusions.crossattn import PooledCrossAttention, SafeCrossAttentionFusion
from polzoo.fusions.options import CrossAttentionOptions


def attention(dim=16, heads=4, pool=4, seed=0):
    torch.manual_seed(seed)
    return PooledCrossAttention(12, 10, dim, heads, pool).eval()


def by_hand(net, query, source, mask=None):
    """Projected first, then pooled; softmax written out; float64."""
    h, w = query.shape[-2:]
    size = max(1, h // net.pool), max(1, w // net.pool)
    conv = lambda layer, x: F.conv2d(x, layer.weight.double(), layer.bias.double())  # noqa: E731
    q, k, v = (conv(layer, x.double()) for layer, x in ((net.q, query), (net.k, source), (net.v, source)))
    k, v = F.adaptive_avg_pool2d(k, size), F.adaptive_avg_pool2d(v, size)
    q, k, v = (x.unflatten(1, (net.heads, -1)).flatten(-2) for x in (q, k, v))
    scores = torch.einsum("bndi,bndj->bnij", q, k) / math.sqrt(q.shape[2])
    if mask is not None:
        keep = F.adaptive_avg_pool2d(mask.double(), size).flatten(1) >= 0.5
        for i, allowed in enumerate(keep):
            if allowed.any():
                scores[i, ..., ~allowed] = -torch.inf
    seen = torch.einsum("bnij,bndj->bndi", scores.softmax(-1), v).flatten(1, 2).unflatten(-1, (h, w))
    return conv(net.out, seen)


@pytest.mark.parametrize("size", [(8, 12), (9, 7), (2, 3), (1, 1)])
def test_attention_equals_its_formula(size):
    """Maps smaller than a pooling cell included."""
    net, query, source = attention(), torch.randn(2, 12, *size), torch.randn(2, 10, *size)
    with torch.inference_mode():
        torch.testing.assert_close(net(query, source).double(), by_hand(net, query, source), atol=1e-5, rtol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(["none", "all", "some", "nan-free noise"]))
def test_every_mask_gives_a_finite_result_per_sample(seed, kind):
    torch.manual_seed(seed)
    net, query, source = attention(seed=seed), torch.randn(3, 12, 8, 8), torch.randn(3, 10, 8, 8)
    mask = {"none": torch.zeros, "all": torch.ones, "some": torch.rand}.get(kind, torch.rand)(3, 1, 8, 8)
    mask[0] = 0  # one sample without any place to look
    with torch.inference_mode():
        out = net(query, source, mask)
        alone = torch.cat([net(query[i : i + 1], source[i : i + 1], mask[i : i + 1]) for i in range(3)])
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.double(), by_hand(net, query, source, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("view", [0, 1])
def test_nan_in_the_features_is_not_hidden(final, view):
    """It must reach the engine's guard, whatever the attention kernel makes of it."""
    fuse = SafeCrossAttentionFusion(12, CrossAttentionOptions(final_fusion=final, pol_dim=10, attention_dim=16)).eval()
    features = torch.randn(1, 12, 8, 8), torch.randn(1, 10, 8, 8)
    features[view][0, 0, 3, 3] = torch.nan
    assert torch.isnan(fuse(*features, None, 1.0)[..., 3, 3]).any()


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an operation returns."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple) else (out,):
            self.most = max(self.most, x.numel() if isinstance(x, torch.Tensor) else 0)
        return out


@pytest.mark.parametrize("masked", [False, True])
def test_no_matrix_of_queries_and_keys_is_ever_made(masked):
    net = attention(dim=16, heads=4, pool=2)
    query, source = torch.randn(1, 12, 64, 64), torch.randn(1, 10, 64, 64)
    with torch.no_grad(), Largest() as seen:  # inference mode would hide what composite operations do inside
        net(query, source, torch.rand(1, 1, 64, 64) if masked else None)
    assert seen.most <= 16 * 64 * 64 < 4 * 64 * 64 * 32 * 32


def test_attended_features_enter_by_the_capped_gate():
    options = CrossAttentionOptions(final_fusion=False, pol_dim=10, attention_dim=16)
    torch.manual_seed(0)
    fuse = SafeCrossAttentionFusion(12, options).eval()
    stereo, pol = torch.randn(1, 12, 8, 8), torch.randn(1, 10, 8, 8)
    assert torch.equal(fuse(stereo, pol, None, 1.0), stereo)  # zero-initialised: exactly preserved
    torch.nn.init.normal_(fuse.project.weight)
    whole = fuse(stereo, pol, None, 1.0) - stereo
    torch.testing.assert_close(fuse(stereo, pol, None, 0.24) - stereo, 0.24 * whole, atol=1e-6, rtol=1e-4)
    expected = torch.sigmoid(torch.tensor(-5.0)) * fuse.project(fuse.attention(stereo, pol))
    torch.testing.assert_close(whole, expected, atol=1e-6, rtol=1e-4)


def test_both_ways_changes_what_the_last_layer_reads():
    torch.manual_seed(0)
    one = SafeCrossAttentionFusion(12, CrossAttentionOptions(pol_dim=10, attention_dim=16)).eval()
    both = SafeCrossAttentionFusion(
        12, CrossAttentionOptions(pol_dim=10, attention_dim=16, enable_stereo_to_pol=True)
    ).eval()
    both.load_state_dict(one.state_dict(), strict=False)
    stereo, pol = torch.randn(1, 12, 8, 8), torch.randn(1, 10, 8, 8)
    assert torch.equal(one(stereo, pol, None, 1.0), both(stereo, pol, None, 1.0))  # Z' is zero at the start
    torch.nn.init.normal_(both.project_back.weight, std=5)
    changed = pol + 0.1 * torch.sigmoid(torch.tensor(-5.0)) * 0.5 * both.project_back(both.back(pol, stereo))
    expected = both.final(torch.cat([stereo, changed], 1))
    torch.testing.assert_close(both(stereo, pol, None, 0.5), expected, atol=1e-5, rtol=1e-5)


def test_without_the_last_layer_the_model_starts_as_the_unfused_one(scene):
    small = "raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)"
    plain, fused = polzoo.build(small).eval(), polzoo.build(f"{small}+crossattn(final_fusion=false)").eval()
    fused.load_state_dict(plain.state_dict() | {k: v for k, v in fused.state_dict().items() if k.startswith("fusion.")})
    with torch.inference_mode():
        a, b = (m(scene.left, scene.right, iterations=2).disparity for m in (plain, fused))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("heads=3", "heads=3 does not divide attention_dim=128; try heads=(2|4)"),
        ("final_fusion=false,enable_stereo_to_pol=true", "enable_stereo_to_pol has no effect with final_fusion=false"),
        ("pol_width=6", "multiple of 4"),
        ("heds=2", "heads"),
    ],
)
def test_options_that_cannot_work(options, says):
    with pytest.raises(PolzooError, match=says):
        polzoo.build(f"raft-lite+crossattn({options})")


def test_the_mask_is_an_option_that_acts(scene, fresh):
    masked, plain = fresh("crossattn(use_mask=true)"), fresh("crossattn")
    plain.load_state_dict(masked.state_dict())
    dark = scene.right.clone()
    dark[..., :24] = scene.left[..., :24]  # contrast in the right half alone, so the mask leaves something out
    dark[..., 24:] = 0
    with torch.inference_mode():
        a, b = (m(scene.left, dark, iterations=1, polarity=1.0).disparity for m in (masked, plain))
    assert not torch.equal(a, b)
