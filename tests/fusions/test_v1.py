import torch


def test_polarization_stands_beside_the_costs(scene, fresh):
    model = fresh("v1")
    cost = torch.rand(2, 36, 8, 12)
    out = scene.modulate(model, cost)
    assert model.fusion.lookup_dim() == 72 and out.shape == (2, 72, 8, 12)
    assert torch.equal(out[:, :36], cost)
    torch.testing.assert_close(out[:, 36:].double(), scene.differences(4, 4), atol=2e-5, rtol=0)
