"""The RepViT student: its allocation, its fused form, timm's weights, its presets' promises."""

from typing import Any

import pytest
import torch

import polzoo
from polzoo.errors import PolzooError
from polzoo.spec import format, parse

pytest.importorskip("timm")
from torch.utils.flop_counter import FlopCounterMode

TINY = (
    "repvit(dims=[4,4,4,4],blocks=['s','b','','sb'],hidden_dims=[4,4,4],width=2,feature_dim=4,groups=2,"
    "volume_width=1,max_disp=32,corr_radius=2{})"
)


def pair(h=64, w=96):
    g = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, h, w, generator=g), torch.rand(1, 3, h, w, generator=g)


def trunk_of(model) -> Any:
    return model.backbone.trunk


def shaken(model):
    """Batch norms as training leaves them, so that folding has something to fold."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            state = module.state_dict(keep_vars=True)
            for name in ("running_mean", "bias"):
                torch.nn.init.uniform_(state[name], -0.2, 0.2)
            for name in ("running_var", "weight"):
                torch.nn.init.uniform_(state[name], 0.7, 1.4)
    return model


@pytest.mark.parametrize(("encoder", "parameters"), [("nano", 858_644), ("small", 2_952_592), ("base", 12_067_972)])
def test_presets_have_the_parameters_they_are_known_for(encoder, parameters):
    model = polzoo.build(f"repvit(encoder='{encoder}')")
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_nano_is_small_enough_for_an_edge_device():
    """At most 1.2 M parameters and 17 GFLOPs (a multiply-add is 2) at 320×640 with one iteration."""
    model = polzoo.build("repvit(encoder='nano')").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(*pair(320, 640), iterations=1)
    assert flops.get_total_flops() == pytest.approx(12.71e9, rel=0.01)


def test_allocation_is_what_the_option_says():
    trunk = trunk_of(polzoo.build(TINY.format("")))
    assert [len(stage.blocks) for stage in trunk.stages] == [1, 1, 0, 2]
    with_se = [[not isinstance(block.se, torch.nn.Identity) for block in stage.blocks] for stage in trunk.stages]
    assert with_se == [[True], [False], [], [True, False]]


def test_default_allocation_is_said_by_its_name_alone():
    assert format(parse("repvit(encoder='nano')")) == 'repvit(encoder="nano")+none+dense'
    changed = parse("repvit(encoder='nano',hidden_dims=[16,16,16])")
    assert format(changed) == 'repvit(hidden_dims=[16,16,16],encoder="nano")+none+dense'
    assert parse(format(changed)) == changed
    named = parse("repvit(encoder='repvit_m0_9')")
    assert parse(format(named)) == named


@pytest.mark.parametrize("spec", [TINY.format(""), "repvit(encoder='nano')", TINY.format(",polarization=true")])
def test_reparameterised_form_gives_equal_outputs(spec):
    torch.manual_seed(0)
    model = shaken(polzoo.build(spec).eval())
    copy = model.fuse()
    with torch.inference_mode():
        a, b = (m(*pair(), iterations=3).disparity for m in (model, copy))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in copy.modules())
    assert sum(p.numel() for p in copy.parameters()) < sum(p.numel() for p in model.parameters())


def test_images_are_encoded_once_and_together():
    model = polzoo.build(TINY.format("")).eval()
    seen = []
    trunk_of(model).register_forward_hook(lambda module, args, out: seen.append(tuple(args[0].shape)))
    model(*pair(), iterations=2)
    assert seen == [(2, 3, 64, 96)]


def test_polarization_as_input_changes_what_is_seen():
    model = polzoo.build(TINY.format(",polarization=true")).eval()
    assert trunk_of(model).stem.conv1.c.in_channels == 4
    with torch.inference_mode():
        with_analysers, without = (model(*pair(), iterations=1, polarity=p).disparity for p in (1.0, 0.0))
    assert not torch.equal(with_analysers, without)


def test_trunk_is_timms_own_network():
    """Same maps as timm gives for the same weights at 1/4 … 1/32."""
    import timm

    torch.manual_seed(0)
    net: Any = shaken(timm.create_model("repvit_m0_9", num_classes=0).eval())
    model = polzoo.build("repvit(encoder='repvit_m0_9')").eval()
    trunk_of(model).load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("head")})
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        own, theirs = trunk_of(model)(x)[1:], net.forward_intermediates(x, intermediates_only=True)
    assert all(map(torch.equal, own, theirs))


def test_pretrained_weights_are_timms_and_a_checkpoint_never_asks_for_them(tmp_path, monkeypatch):
    import timm

    torch.manual_seed(3)
    net: Any = shaken(timm.create_model("repvit_m0_9", num_classes=0))
    asked = []
    real = timm.create_model

    def create(name, pretrained=False, **kwargs):
        asked.append(pretrained)
        return net if pretrained else real(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", create)
    spec = TINY.format("").replace("dims=[4,4,4,4],blocks=['s','b','','sb']", "encoder='repvit_m0_9',pretrained=true")
    model = polzoo.build(spec)
    assert any(asked)
    assert torch.equal(trunk_of(model).stem.conv1.c.weight, net.stem.conv1.c.weight)
    from polzoo.checkpoint import save

    asked.clear()
    again = polzoo.load(save(model.eval(), tmp_path / "model"))
    assert not any(asked)
    assert torch.equal(trunk_of(again).stem.conv1.c.weight, net.stem.conv1.c.weight)


def test_pretrained_offline_fails_with_one_line(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PolzooError, match=r"pretrained weights of 'repvit_m1_1' cannot be fetched .*pretrained=false"):
        polzoo.build("repvit(encoder='repvit_m1_1',pretrained=true)")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("encoder='nanno'", "unknown encoder 'nanno'.*nano"),
        ("encoder='repvit_m1_l'", "unknown RepViT of timm 'repvit_m1_l'.*repvit_m1_1"),
        ("encoder='repvit_m1_1',dims=[4,4,4,4]", "dims has no effect"),
        ("encoder='nano',pretrained=true", "pretrained weights are timm's"),
        ("blocks=['s','x','','s']", "unknown block 'x' at 1/8"),
        ("blocks=['s','s','s']", "one entry for each of 1/4, 1/8, 1/16, 1/32, not 3"),
        ("dims=[]", "dims needs one entry for each of 1/4, 1/8, 1/16, 1/32, not 0"),
        ("blocks=[]", "blocks needs one entry for each"),
        ("encoder='repvit_m0_9.foo'", "unknown RepViT of timm"),
        ("dims=[48,80,128]", "dims needs one entry for each"),
        ("dims=[3,4,4,4]", "even numbers from 2 to 1024, not 3"),
        ("max_disp=100", "multiple of 32"),
        ("feature_dim=60", "feature_dim=60 is no multiple of groups=8"),
    ],
)
def test_options_that_cannot_work(options, says):
    with pytest.raises(PolzooError, match=says):
        polzoo.build(f"repvit({options})")


def test_a_missing_timm_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "polzoo.backbones.repvit", raising=False)
    with pytest.raises(PolzooError, match=r"backbone 'repvit' cannot be imported.*timm"):
        polzoo.build("repvit")
