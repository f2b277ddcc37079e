"""The inference copy: what it folds, and every faster form beside its plain one."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import polzoo
from polzoo.errors import PolzooError
from polzoo.fuse import InPlaceInstanceNorm, SlicedConv3d, fused
from polzoo.memory import estimate
from polzoo.updates.cells import ConvGRU, SelectiveGRU

TINY = {
    "raft": "raft(hidden_dims=[8,8,8],feature_dim=8,width=4,corr_levels=2,corr_radius=2)",
    "igev": "igev(hidden_dims=[4,4,4],width=2,feature_width=2,feature_dim=6,groups=3,volume_width=2,max_disp=32)",
}


def shaken(model: nn.Module) -> nn.Module:
    """Norms as training leaves them, so that folding has something to fold."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for values, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.7, 1.4)):
                nn.init.uniform_(values, low, high)  # pyright: ignore[reportArgumentType]
    return model.eval()


@pytest.mark.parametrize("name", TINY)
def test_equal_over_twelve_iterations(name):
    torch.manual_seed(0)
    model = shaken(polzoo.build(TINY[name]))
    left, right = torch.rand(2, 2, 3, 60, 130)
    with torch.inference_mode():
        ours, plain = (m(left, right, iterations=12, all_iterations=True) for m in (fused(model), model))  # pyright: ignore
    for one, other in zip(ours.sequence, plain.sequence, strict=True):
        assert (one - other).abs().max() <= 1e-4


@pytest.mark.parametrize("name", TINY)
def test_the_model_itself_stays_as_it_is(name):
    model = polzoo.build(TINY[name]).eval()
    before = copy.deepcopy(model.state_dict())
    fused(model)(*torch.rand(2, 1, 3, 32, 64))
    after = model.state_dict()
    assert list(before) == list(after)
    for key, value in after.items():
        assert torch.equal(value, before[key]) and value.stride() == before[key].stride()


def test_a_model_in_training_is_refused():
    with pytest.raises(PolzooError, match="eval mode"):
        fused(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))


def test_norms_that_follow_no_convolution_stay():
    """Only a convolution's output, which nobody else reads, may be overwritten."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4), nn.ReLU(), nn.InstanceNorm2d(4), nn.BatchNorm2d(4))
    kinds = [type(layer) for layer in fused(net.eval()).children()]
    assert kinds == [nn.Conv2d, InPlaceInstanceNorm, nn.ReLU, nn.InstanceNorm2d, nn.BatchNorm2d]


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 5), st.integers(2, 40), st.booleans())
def test_instance_norm_in_place(seed, batch, channels, height, channels_last):
    torch.manual_seed(seed)
    x = 3 + 2 * torch.randn(batch, channels, height, 9)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    wanted, norm = F.instance_norm(x.double()), InPlaceInstanceNorm(1e-5)
    norm.STRIP = 64
    found = norm(x)
    assert found.data_ptr() == x.data_ptr()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 2), st.sampled_from([1, 3]), st.integers(1, 5), st.booleans(), st.booleans())
def test_sliced_convolution(seed, batch, outputs, depth, bias, channels_last):
    torch.manual_seed(seed)
    conv = nn.Conv3d(9, outputs, 3, padding=1, bias=bias)
    x = torch.randn(batch, 9, depth, 4, 6)
    x = x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x
    assert SlicedConv3d.pays(conv)
    torch.testing.assert_close(SlicedConv3d(conv)(x), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"padding": 0}, {"padding": 1, "groups": 3}])
def test_other_convolutions_are_not_sliced(options):
    assert not SlicedConv3d.pays(nn.Conv3d(9, 9, 3, **options))
    assert not SlicedConv3d.pays(nn.Conv3d(9, 9, 1))


def joined(unit: ConvGRU, h: torch.Tensor, context: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A ConvGRU as its papers write it: [state, what is read, context] convolved as one by every gate."""
    hx = torch.cat([h, x, context], 1)
    z, r = unit.convz(hx).sigmoid(), unit.convr(hx).sigmoid()
    q = unit.convq(torch.cat([r * h, x, context], 1)).tanh()
    return (1 - z) * h + z * q


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 6), st.integers(0, 3), st.sampled_from([1, 3]))
def test_gates_without_joining(seed, hidden, inputs, context, kernel):
    torch.manual_seed(seed)
    unit = ConvGRU(hidden, inputs, context, kernel)
    h, x, seen = (torch.randn(2, n, 5, 7) for n in (hidden, inputs, context))
    gates = unit.prepare(seen) if context else (torch.zeros(()),) * 3
    for _ in range(12):
        found, wanted = unit(h, gates, x), joined(unit, h, seen, x)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        h = found


def test_selective_unit_without_joining():
    torch.manual_seed(0)
    unit, h, x, context = SelectiveGRU(4, 6, 3), *(torch.randn(1, n, 5, 7) for n in (4, 6, 4))
    blend = context[:, -1:].sigmoid()
    small, large = (joined(one, h, context[:, :-1], x) for one in (unit.small, unit.large))
    torch.testing.assert_close(unit(h, unit.prepare(context), x), blend * small + (1 - blend) * large)


@pytest.mark.parametrize(("name", "official", "share"), [("raft", 599, 0.37), ("igev", 359, 0.65)])
def test_peak_of_live_tensors(name, official, share):
    """Of the official codes' peak at 320×736 in units of 2^20 bytes (spec "backbones" §4)."""
    copy = polzoo.build(name).eval().fuse()
    assert estimate(copy, 320, 736).activations <= share * official * 2**20
