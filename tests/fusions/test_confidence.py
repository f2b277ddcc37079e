import torch
from torch.nn import functional as F


def test_costs_are_suppressed_where_polarization_says_glass(reference, scene, fresh):
    cost = torch.rand(2, 36, 8, 12)
    p = torch.from_numpy(reference.contrast(scene.left, scene.right, scene.polarity))
    glass = reference.soft_threshold(F.avg_pool2d(p, 4).numpy())
    found = scene.modulate(fresh("confidence"), cost).double()
    torch.testing.assert_close(found, cost * (1 - torch.from_numpy(glass)), atol=1e-5, rtol=1e-5)
