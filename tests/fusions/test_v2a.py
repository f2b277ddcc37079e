"""V2A, V2B and V2C add the same residual; they differ in how much of it they let in."""

import pytest
import torch


def test_residual_is_added(scene, fresh):
    model = fresh("v2a")
    cost = torch.rand(2, 36, 8, 12)
    with torch.no_grad():
        residual = model.fusion.residual.double()(scene.differences(4, 4))
    model.fusion.float()
    torch.testing.assert_close(scene.modulate(model, cost).double() - cost, residual, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["v2a", "v2b", "v2c"])
def test_starts_bit_identical_to_the_unfused_model(fusion, scene):
    import polzoo

    small = "raft(hidden_dims=[16,16,16],feature_dim=16,width=8)"
    plain, fused = polzoo.build(small).eval(), polzoo.build(f"{small}+{fusion}").eval()
    fused.load_state_dict(plain.state_dict() | {k: v for k, v in fused.state_dict().items() if k.startswith("fusion.")})
    with torch.inference_mode():
        a, b = (m(scene.left, scene.right, iterations=3, all_iterations=True).sequence for m in (plain, fused))
    assert all(map(torch.equal, a, b))


def test_the_last_layer_alone_learns_at_the_first_step():
    import polzoo

    model = polzoo.build("raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)+v2a")
    model(torch.rand(2, 3, 32, 64), torch.rand(2, 3, 32, 64), iterations=1).disparity.sum().backward()
    alive = {n for n, p in model.fusion.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert alive == {"residual.4.weight", "residual.4.bias"}
