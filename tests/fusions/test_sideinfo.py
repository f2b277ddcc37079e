import numpy as np
import pytest
import torch

from polzoo.fusions.sideinfo import side_maps, sobel


def test_sobel_of_a_ramp_is_its_slope():
    ramp = 0.01 * torch.arange(12.0).expand(1, 2, 9, 12)
    inside = sobel(ramp)[..., 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.01), atol=1e-5, rtol=0)
    torch.testing.assert_close(sobel(ramp.mT)[..., 1:-1, :], inside.mT, atol=1e-5, rtol=0)


def test_sobel_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    x = torch.rand(1, 1, 20, 30)
    gx, gy = (cv2.Sobel(x[0, 0].numpy(), cv2.CV_32F, *d, borderType=cv2.BORDER_REPLICATE) / 8 for d in ((1, 0), (0, 1)))
    np.testing.assert_allclose(sobel(x)[0, 0].numpy(), np.hypot(gx, gy), atol=1e-5)


def test_maps_know_which_camera_is_parallel(scene):
    """Sample 0: the left one; sample 1: the right one."""
    maps, left, right = side_maps(scene.pair), scene.left, scene.right
    torch.testing.assert_close(maps[:, :3], (left - right).abs())
    torch.testing.assert_close(maps[0, 3:6], left[0] / (left[0] + right[0]) - 0.5, atol=1e-4, rtol=0)
    torch.testing.assert_close(maps[1, 3:6], right[1] / (left[1] + right[1]) - 0.5, atol=1e-4, rtol=0)
    torch.testing.assert_close(maps[1, 6:9], sobel(right)[1])
    torch.testing.assert_close(maps[1, 9:], sobel(left)[1])


def test_no_analysers_leave_the_context_exactly_alone(make_scene, fresh):
    scene, model = make_scene(1, polarity=(0.0,)), fresh("sideinfo")
    f, encoding = model.fusion, model.backbone.encode(scene.pair)
    with torch.inference_mode():
        found = f.inject_context(encoding, f.encode(scene.call, encoding), None, scene.call)
    assert torch.equal(found[0], encoding.context[0])


def test_black_pixels_say_nothing(make_scene):
    scene = make_scene(1)
    dark = torch.zeros_like(scene.left)
    from polzoo.interfaces import Pair

    assert side_maps(Pair(dark, dark, scene.polarity, dark, dark)).abs().max() < 1e-5  # neither parallel nor crossed
