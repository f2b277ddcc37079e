from typing import Any

import torch
from torch.nn import functional as F


def test_gates_equal_their_formula(scene, fresh):
    """A loop over offsets and levels; the gate of an offset is the same on every level."""
    model = fresh("v2d")
    f, conv, last = model.fusion, model.fusion.gate.net[0], model.fusion.gate.net[2]
    difference = scene.differences(1, 4, colours=True)  # (B, 3, 9, h, w): x − d + k for k = −4 … 4, offset −k
    hidden = F.relu(F.conv3d(difference, conv.weight.double(), conv.bias.double(), padding=1))
    gate = torch.sigmoid(F.conv3d(hidden, last.weight.double(), last.bias.double()))[:, 0]
    cost = torch.rand(2, 36, 8, 12)
    factor = 1 + f.strength.double() * 2 * (gate - 0.5)
    expected = cost.double() * factor.repeat(1, 4, 1, 1)
    torch.testing.assert_close(scene.modulate(model, cost).double(), expected, atol=1e-4, rtol=1e-4)


def test_gates_follow_the_hosts_own_order_of_channels(scene, fresh):
    """A host that lists its channels in another order, or twice in groups, gets the same gates in that order."""
    import polzoo
    from polzoo.fusions.v2d import StereoPolVolumeV2D
    from polzoo.interfaces import Channel

    model = fresh("v2d")
    host = model.backbone.host
    shuffled = tuple(Channel(0, o, g) for o in (-4, -2, 0, 2, 4, 3, 1, -1, -3) for g in (0, 1))
    other = StereoPolVolumeV2D(model.fusion.options, host._replace(lookup=shuffled)).eval()
    other.load_state_dict(model.fusion.state_dict())
    own = scene.modulate(model, torch.ones(2, 36, 8, 12))
    model.fusion = other
    mixed = scene.modulate(model, torch.ones(2, 18, 8, 12))
    for i, channel in enumerate(shuffled):
        assert torch.equal(mixed[:, i], own[:, 4 - channel.offset])
    fusion: Any = polzoo.build("raft-lite+v2d").fusion
    assert fusion.strength.item() == torch.tensor(0.2).item()
