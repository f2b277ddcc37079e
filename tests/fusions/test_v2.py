import torch
from torch.nn import functional as F


def layer(conv, x):
    return F.relu(F.conv2d(x, conv.weight.double(), conv.bias.double(), padding=conv.kernel_size[0] // 2))


def head(conv, x):
    return torch.sigmoid(F.conv2d(x, conv.weight.double(), conv.bias.double()))


def test_gated_fusion_equals_its_formula(scene, fresh):
    model = fresh("v2")
    cost = torch.rand(2, 36, 8, 12)
    f, pol, corr = model.fusion, scene.differences(4, 4), cost.double()
    attention = (
        head(f.attention[2], layer(f.attention[1 - 1][2], layer(f.attention[0][0], pol)))
        if isinstance(f.attention[0], torch.nn.Sequential)
        else head(f.attention[4], layer(f.attention[2], layer(f.attention[0], pol)))
    )
    gate = head(f.gate[4], layer(f.gate[2], layer(f.gate[0], torch.cat([corr, pol, attention], 1))))
    expected = gate * layer(f.encode_corr[0], corr) + (1 - gate) * layer(f.encode_pol[0], pol)
    out = scene.modulate(model, cost)
    assert out.shape == (2, 128, 8, 12) and f.lookup_dim() == 128
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-4)


def test_it_needs_the_whole_map(fresh):
    assert fresh("v2").fusion.reach is None
