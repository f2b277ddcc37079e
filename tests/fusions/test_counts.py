"""Parameters of every strategy, as the specification counts them."""

from typing import Any

import pytest

import polzoo

ON_RAFT_LITE = {
    "none": 3_938_241,
    "concat": 4_281_154,
    "crossattn": 4_363_715,
    "crossattn(final_fusion=false)": 4_330_563,
    "crossattn(enable_stereo_to_pol=true)": 4_446_276,
    "v1": 3_979_713,
    "v2": 4_191_707,
    "v2a": 3_998_310,
    "v2b": 3_998_310,
    "v2c": 4_009_031,
    "v2d": 3_938_907,
    "v2e": 3_938_474,
    "twopass": 3_938_241 + 896 + 9_248 + 4_224,
    "film": 3_938_241 + 896 + 9_248 + 8_448,
    "dualvolume": 3_938_241 + 10_433 + 1_332,
    "confidence": 3_938_241,
    "sideinfo": 3_938_241 + 12 * 128,
}


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("fusion", "expected"), ON_RAFT_LITE.items())
def test_whole_models(fusion, expected):
    model = polzoo.build(f"raft-lite+{fusion}")
    assert count(model) == expected
    assert all(p.requires_grad for p in model.parameters())


def test_modules():
    crossattn: Any = polzoo.build("raft-lite+crossattn(enable_stereo_to_pol=true)").fusion
    assert count(crossattn.encoder) == 309_761
    assert count(crossattn.encoder.stem) == 384
    assert [count(block) for block in crossattn.encoder.blocks] == [57_920, 230_528]
    assert count(crossattn.encoder.attention) == 4_161
    assert count(crossattn.encoder.out) == 16_768
    assert count(crossattn.fuse.attention) == count(crossattn.fuse.back) == 66_048
    assert count(crossattn.fuse.project) == count(crossattn.fuse.project_back) == 16_512
    assert count(crossattn.fuse.final) == 33_152
    v2: Any = polzoo.build("raft-lite+v2").fusion
    assert [count(m) for m in (v2.attention, v2.gate, v2.encode_corr, v2.encode_pol)] == [3_673, 60_609, 41_600, 41_600]


@pytest.mark.parametrize(("fusion", "more"), [("v1", 36 * 64), ("v2a", 60_069), ("v2e", 233), ("v2d", 666)])
def test_on_raft(fusion, more):
    assert count(polzoo.build(f"raft+{fusion}")) == 11_107_279 + more


@pytest.mark.parametrize("backbone", ["raft(downsample=3,gru_levels=2,slow_fast=true)", "raft(gru_levels=1)"])
@pytest.mark.parametrize("fusion", ["concat", "crossattn", "v2", "v2c", "v2d", "twopass", "film", "sideinfo"])
def test_nothing_assumes_a_stride_or_one_level(backbone, fusion):
    import torch

    model = polzoo.build(f"{backbone}+{fusion}").eval()
    with torch.inference_mode():
        assert torch.isfinite(model(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), iterations=1).disparity).all()
