import pytest
import torch


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_residual_is_let_in_by_the_schedule(scene, fresh, alpha):
    """The same weights as V2A's, weighed by α."""
    v2a, v2b = fresh("v2a"), fresh("v2b")
    v2b.load_state_dict(v2a.state_dict())
    cost = torch.rand(2, 36, 8, 12)
    whole, part = scene.modulate(v2a, cost) - cost, scene.modulate(v2b, cost, alpha) - cost
    torch.testing.assert_close(part, alpha * whole, atol=1e-5, rtol=1e-5)


def test_a_model_pruned_to_one_iteration_still_sees_polarization(scene, fresh):
    aligned = fresh("v2b")
    literal = fresh("v2b(schedule='literal')")
    with torch.inference_mode():
        outs = {
            (name, p): model(scene.left, scene.right, iterations=1, polarity=p).disparity
            for name, model in (("aligned", aligned), ("literal", literal))
            for p in (0.0, 1.0)
        }
    assert not torch.equal(outs["aligned", 0.0], outs["aligned", 1.0])
    assert torch.equal(outs["literal", 0.0], outs["literal", 1.0])
