import torch


def test_both_views_get_the_same_polarization_features(scene, fresh):
    model = fresh("concat")
    f, encoding = model.fusion, model.backbone.encode(scene.pair)
    with torch.inference_mode():
        pol = f.encode(scene.call, encoding)
        fused = f.fuse_features(encoding, pol, scene.call)
        for before, after in zip(encoding.matching, fused.matching, strict=True):
            torch.testing.assert_close(after, f.fuse(torch.cat([before, pol], 1)), atol=1e-5, rtol=1e-5)
    assert pol.shape == (2, 128, 8, 12)
    assert fused.context is encoding.context and fused.hidden is encoding.hidden


def test_polarization_encoder_equals_its_formula(reference, scene, fresh):
    e = fresh("concat").fusion.encoder.eval()
    seen = reference.soft_threshold(reference.contrast(scene.left, scene.right, scene.polarity))
    with torch.inference_mode():
        x = e.blocks(e.stem(torch.from_numpy(seen).float()))
        expected = e.out(x * e.attention(x))
        torch.testing.assert_close(e(scene.call), expected, atol=1e-4, rtol=1e-4)
    assert x.shape == (2, 128, 8, 12)
