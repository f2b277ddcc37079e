import numpy as np
import torch

import polzoo


def test_starts_as_the_unfused_model_at_twice_the_iterations(scene):
    small = "raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)"
    plain, fused = polzoo.build(small).eval(), polzoo.build(f"{small}+twopass").eval()
    fused.load_state_dict(plain.state_dict() | {k: v for k, v in fused.state_dict().items() if k.startswith("fusion.")})
    with torch.inference_mode():
        a = plain(scene.left, scene.right, iterations=4).disparity
        b = fused(scene.left, scene.right, iterations=2).disparity
    assert torch.equal(a, b)


def test_contrast_is_aligned_by_the_models_own_disparity(scene, fresh):
    model = fresh("twopass")
    f, encoding = model.fusion, model.backbone.encode(scene.pair)
    with torch.inference_mode():
        pol = f.encode(scene.call, encoding)
        assert f.inject_context(encoding, pol, None, scene.call) is encoding.context
        found = f.inject_context(encoding, pol, scene.disparity, scene.call)[0]
    difference = scene.differences(1, 0, colours=True)[:, :, 0]
    left = torch.from_numpy(scene.grid()[0])
    both = 2 * left - torch.from_numpy(np.asarray(scene.signs)) * difference
    features = f.encoder.double()(difference / (both + 1e-6))
    expected = encoding.context[0].double() + f.heads[0].double()(features)
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-3)


def test_a_perfectly_aligned_unpolarised_pair_shows_no_contrast(fresh):
    """R(x − d) = L(x) at d = 2 cells: nothing differs where there is a partner, nor where there is none."""
    from polzoo.fusions.polarization import ColourDifference
    from polzoo.interfaces import Pair
    from polzoo.updates.sites import EVERYTHING

    left = torch.rand(1, 3, 32, 64).repeat_interleave(1, -1)
    right = left.roll(-8, -1)
    pol = ColourDifference(Pair(left, right, torch.ones(1), left, right), 4, (0,))
    found = pol.lookup(torch.full((1, 1, 8, 16), 2.0), EVERYTHING)
    assert found.abs().max() < 1e-6
    assert pol.lookup(torch.full((1, 1, 8, 16), -2.0), EVERYTHING).abs().max() > 0.1
