from typing import Any

import torch


def test_blend_equals_its_formula(scene, fresh):
    model = fresh("dualvolume")
    cost, f = torch.rand(2, 36, 8, 12), model.fusion
    found = scene.modulate(model, cost).double()
    pol = scene.differences(4, 4)
    with torch.no_grad():
        trust, costs = f.trust.double()(pol), f.costs.double()(pol)
    torch.testing.assert_close(found, trust * cost + (1 - trust) * costs, atol=1e-4, rtol=1e-4)


def test_no_analysers_leave_the_costs_exactly_alone(make_scene, fresh):
    scene, cost = make_scene(1, polarity=(0.0,)), torch.rand(1, 36, 8, 12)
    assert torch.equal(scene.modulate(fresh("dualvolume"), cost), cost)


def test_it_starts_by_trusting_the_correlation(scene):
    import polzoo

    fusion: Any = polzoo.build("raft-lite+dualvolume").fusion
    trust = fusion.trust(torch.rand(1, 36, 4, 4))
    torch.testing.assert_close(trust, torch.full_like(trust, 0.98201), atol=1e-4, rtol=0)
