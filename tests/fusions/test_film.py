import torch
from torch.nn import functional as F


def test_context_is_scaled_and_shifted_by_coarse_contrast(scene, fresh):
    model = fresh("film")
    f, encoding = model.fusion, model.backbone.encode(scene.pair)
    left, right = (F.avg_pool2d(torch.from_numpy(v), 4) for v in scene.grid())
    contrast = torch.from_numpy(scene.signs) * (left - right) / (left + right + 1e-6)
    with torch.inference_mode():
        found = f.inject_context(encoding, f.encode(scene.call, encoding), None, scene.call)[0]
        coarse = f.heads[0](f.encoder(contrast.float()))
        gamma, beta = F.interpolate(coarse, (8, 12), mode="bilinear", align_corners=False).chunk(2, 1)
    assert coarse.shape[-2:] == (2, 3)
    torch.testing.assert_close(found, (1 + gamma) * encoding.context[0] + beta, atol=1e-4, rtol=1e-4)


def test_a_grid_smaller_than_a_coarse_cell_is_one_cell(make_scene, fresh):
    scene, model = make_scene(1, 32, 32), fresh("film(coarseness=32)")
    with torch.inference_mode():
        assert model.fusion.encode(scene.call, model.backbone.encode(scene.pair)).shape[-2:] == (1, 1)
