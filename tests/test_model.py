"""The loop, with parts made here: what a third party relies on."""

import pytest
import torch
from torch import nn

import polzoo
from polzoo.errors import PolzooError
from polzoo.interfaces import Backbone, Encoding, Fusion, Host
from polzoo.options import Options
from polzoo.parts import AllPairs, RaftLiteCell, row_lookup
from polzoo.registry import registry
from polzoo.settings import InputBlock, Settings


class Toy(Backbone):
    """A third party's backbone; pyramid, zero start and bilinear upsampling are inherited."""

    multiple, host = 32, Host(4, 8, (8,), (8,), row_lookup(levels=2, radius=2))

    def __init__(self, options):
        super().__init__(options)
        self.features = nn.Conv2d(3, 8, 7, 4, 3)

    def encode(self, pair):
        left, right = self.features(pair.left), self.features(pair.right)
        return Encoding((left, right), (torch.tanh(left),), (left,))

    def correlate(self, encoding):
        return AllPairs(*encoding.matching)

    def make_cell(self, lookup_dim):
        return RaftLiteCell(self.host, lookup_dim)


class Spy(Fusion):
    """Does nothing but note which hook was called with what."""

    passes = 2

    def __init__(self, options, host):
        super().__init__(options, host)
        self.seen = []

    def encode(self, call, encoding):
        self.seen.append("encode")
        return "pol"

    def fuse_features(self, encoding, pol, call):
        self.seen.append(("features", pol))
        return encoding

    def modulate_volume(self, volume, pol, call):
        self.seen.append(("volume", pol))
        return volume

    def inject_context(self, encoding, pol, disparity, call):
        self.seen.append(("context", pol, disparity is None))
        return encoding.context

    def modulate_lookup(self, cost, pol, disparity, step, at):
        assert not disparity.requires_grad
        self.seen.append(("lookup", pol, step.p, step.index, step.iterations))
        return cost


@pytest.fixture
def zoo():
    with registry().temporary("backbone", "toy", Toy), registry().temporary("fusion", "spy", Spy):
        yield polzoo.build


def views(b: int = 1, h: int = 64, w: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(b, 3, h, w, generator=g), torch.rand(b, 3, h, w, generator=g)


@pytest.mark.parametrize("fusion", ["none", "v2c"])
def test_a_third_partys_backbone_takes_every_fusion(zoo, fusion):
    out = zoo(f"toy+{fusion}")(*views(2, 50, 70), iterations=2)
    assert out.disparity.shape == (2, 1, 50, 70)
    assert torch.equal(out.first, torch.zeros(2, 1, 16, 24))


def test_the_five_hooks_run_in_order_and_twice_for_two_passes(zoo):
    model = zoo("toy+spy")
    out = model(*views(), iterations=2, all_iterations=True)
    lookups = [("lookup", "pol", p, i, 2) for p in range(2) for i in range(2)]
    head = ["encode", ("features", "pol"), ("volume", "pol")]
    assert model.fusion.seen == [*head, ("context", "pol", True), *lookups[:2], ("context", "pol", False), *lookups[2:]]
    assert len(out.sequence) == 4


def test_padding_is_split_evenly_and_cropped_back(zoo):
    assert zoo("toy").padding({"left": views(1, 100, 210)[0]}) == (7, 7, 14, 14)
    assert zoo("toy").padding({"left": views(1, 33, 64)[0]}) == (0, 0, 15, 16)


def test_cropping_takes_what_padding_added(zoo):
    """A backbone whose upsampling counts pixels shows which of them come out."""
    model = zoo("toy").eval()
    model.backbone.upsample = lambda disparity, mask, encoding: torch.arange(128 * 224.0).view(1, 1, 128, 224)
    out = model(*views(1, 100, 210), iterations=1).disparity
    assert torch.equal(out, torch.arange(128 * 224.0).view(1, 1, 128, 224)[..., 14:-14, 7:-7])


def test_polarity_defaults_to_the_settings(zoo):
    def polarity(analysers, **call):
        model = polzoo.build("toy+v2c", Settings(input=InputBlock(needs="pair", analysers=analysers)))
        return model.prepare(*views(2), **call).call.pair.polarity.tolist()

    assert polarity("parallel-crossed") == [1, 1]
    assert polarity("crossed-parallel") == [-1, -1]
    assert polarity("none") == [0, 0]
    assert polarity("none", polarity=1.0) == [1, 1]
    assert polarity("none", polarity=torch.tensor([1.0, -1.0])) == [1, -1]


def test_a_wrong_number_of_polarities_is_refused(zoo):
    with pytest.raises(PolzooError, match=r"polarity has 3 values for a batch of 2"):
        zoo("toy+v2c")(*views(2), polarity=torch.ones(3))


def test_schedule_steps_are_those_trained_with(zoo):
    model = polzoo.build("toy+v2c", Settings(iterations=2, schedule_steps=8))
    call = model.prepare(*views()).call
    assert [step.alpha for step in call.steps(0)] == pytest.approx([3 / 7, 1.0])


def test_polarization_maps_are_padded_like_the_images(zoo):
    maps = {f"stokes_{side}": torch.rand(1, 3, 50, 70) for side in ("left", "right")}
    model = zoo("toy")
    model.fusion.needs = "stokes"
    padded = model.prepare(*views(1, 50, 70), polarization=maps).call.pair.polarization
    assert {name: tuple(x.shape) for name, x in padded.items()} == dict.fromkeys(maps, (1, 3, 64, 96))


def test_a_warm_start_replaces_the_first_disparity(zoo):
    model, start = zoo("toy").eval(), torch.full((1, 1, 16, 24), 3.0)
    with torch.inference_mode():
        out = model(*views(), iterations=1, initial_disparity=start, trace=True)
    torch.testing.assert_close(out.trace[0].disparity, start + out.trace[0].delta)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"left": torch.rand(3, 64, 96)}, r"left must be a float tensor \(B, 3, H, W\)"),
        ({"left": torch.rand(1, 1, 64, 96)}, r"left must be a float tensor \(B, 3, H, W\)"),
        ({"right": torch.zeros(1, 3, 64, 96, dtype=torch.uint8)}, "right must be a float tensor"),
        ({"right": torch.rand(1, 3, 64, 95)}, "must have the same shape"),
        ({"iterations": 0}, "whole number, 1 or more, not 0"),
        ({"iterations": 1.5}, "not 1.5"),
        ({"polarity": 7.0}, r"must be \+1, 0 or -1, not \[7.0\]"),
        ({"alpha_cap": 9.0}, "must be in"),
        ({"intensity_left": torch.rand(1, 3, 32, 32)}, r"intensity_left .* must have the same shape"),
        ({"initial_disparity": torch.zeros(1, 1, 8, 8)}, r"has shapes \[\(1, 1, 16, 24\).*not \[\(1, 1, 8, 8\)"),
    ],
)
def test_bad_calls(zoo, change, words):
    left, right = views()
    with pytest.raises(PolzooError, match=words):
        zoo("toy")(**{"left": left, "right": right, **change})


def test_not_a_number_comes_out_and_does_not_crash(zoo):
    left, right = views()
    left[..., 10, 10] = float("nan")
    with torch.inference_mode():
        assert torch.isnan(zoo("toy+v2c").eval()(left, right, iterations=2).disparity).any()


def test_two_builds_share_nothing():
    with registry().temporary("backbone", "toy", Toy):
        a, b = polzoo.build("toy"), polzoo.build("toy")
    assert not {id(p) for p in a.parameters()} & {id(p) for p in b.parameters()}


def test_options_reach_the_component(zoo):
    class Sized(Options):
        width: int = 4

    class Wide(Fusion):
        def __init__(self, options: Sized, host):
            super().__init__(options, host)
            self.layer = nn.Conv2d(1, options.width, 1)

    with registry().temporary("fusion", "wide", Wide, Sized):
        assert polzoo.build("toy+wide(width=7)").fusion.state_dict()["layer.weight"].shape == (7, 1, 1, 1)


def test_a_map_that_the_fusion_does_not_read_is_refused():
    model = polzoo.build("raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4)+v2c(hidden=8,gate_hidden=4)")
    views = torch.rand(2, 1, 3, 32, 32)
    with pytest.raises(PolzooError, match="unknown map for the fusion 'v2c' 'stokes_left'"):
        model(*views, polarization={"stokes_left": torch.rand(1, 3, 32, 32)})
