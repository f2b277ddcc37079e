import pytest
import torch
from torch.nn import functional as F

import polzoo
from polzoo.errors import PolzooError


def test_weights_equal_a_loop_over_disparities(scene, fresh):
    """For every d: the difference image L(x) − R(x − d), each image zero outside itself, through the network."""
    model = fresh("v2e")
    f = model.fusion
    encoding = model.backbone.encode(scene.pair)
    plain = model.backbone.correlate(encoding)
    with torch.inference_mode():
        weighed = f.modulate_volume(plain, f.encode(scene.call, encoding), scene.call).values
    left, right = (torch.from_numpy(v * scene.signs) for v in scene.grid())
    w = left.shape[-1]
    for d in range(-w + 1, w):
        wide_left, wide_right = F.pad(left, (w, w, 0, 0)), F.pad(right, (w, w, 0, 0))
        difference = wide_left - wide_right.roll(d, -1)
        hidden = F.relu(F.conv2d(difference, f.conv.weight.double(), f.conv.bias.double(), padding=1))
        weight = torch.sigmoid(F.conv2d(hidden, f.out.weight.double(), f.out.bias.double()))[..., w : 2 * w]
        for x in range(max(d, 0), min(w + d, w)):
            expected = plain.values[:, 0, :, x, x - d].double() * weight[:, 0, :, x]
            torch.testing.assert_close(weighed[:, 0, :, x, x - d].double(), expected, atol=1e-4, rtol=1e-4)


def test_no_analysers_weigh_every_cost_alike(make_scene, fresh):
    scene, model = make_scene(1, polarity=(0.0,)), fresh("v2e")
    f, encoding = model.fusion, model.backbone.encode(scene.pair)
    plain = model.backbone.correlate(encoding)
    with torch.no_grad():
        weighed = f.modulate_volume(plain, f.encode(scene.call, encoding), scene.call).values
    ratio = weighed / plain.values.detach()
    torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), atol=1e-4, rtol=1e-4)


def test_a_backbone_without_a_volume_says_so():
    tiny = "raft(lookup='alt',hidden_dims=[8,8,8],feature_dim=8,width=4)+v2e(hidden=2)"
    with pytest.raises(PolzooError, match=r"on-demand lookup builds no cost volume.*lookup='reg'"):
        polzoo.build(tiny).eval()(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
