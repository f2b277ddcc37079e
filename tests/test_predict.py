"""What people hand in and what they get back: accepted forms, every refusal, warm starts, and warnings about pairs."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import polzoo
from polzoo.data.folder import Folder
from polzoo.data.formats import write_image
from polzoo.data.options import FolderOptions, SyntheticOptions
from polzoo.data.polarization import as_views, from_dolp
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError
from polzoo.interfaces import Fusion
from polzoo.options import Options
from polzoo.predict import as_image, as_inputs, as_polarity, check_pair, predict
from polzoo.registry import registry

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    "+v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"
)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return polzoo.build(TINY).eval()


@pytest.fixture
def views() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8))


def refused(words: str, call, *arguments, **options) -> None:
    with pytest.raises(PolzooError) as error:
        call(*arguments, **options)
    text = str(error.value)
    assert "\n" not in text and words in text, text


def test_every_form_of_one_picture_is_the_same(tmp_path, views) -> None:
    picture = views[0]
    path, wanted = write_image(tmp_path / "a.png", picture), picture.transpose(2, 0, 1).astype(np.float32) / 255
    forms = [path, str(path), picture, Image.fromarray(picture), np.float64(picture) / 255, torch.from_numpy(wanted)]
    forms += [picture.astype(np.uint16) * 257, picture[:, ::-1][:, ::-1], torch.from_numpy(wanted).double()]
    for form in forms:
        found = as_image(form)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_allclose(found, wanted, atol=1e-7)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((9, 9), np.uint8), "(H, W, 3)"),
        (np.zeros((9, 9, 4), np.uint8), "(H, W, 3)"),
        (np.zeros((3, 9, 9), np.uint8), "transpose"),
        (np.zeros((9, 9, 3), np.int32), "uint8, uint16"),
        (np.zeros((9, 9, 3), bool), "uint8, uint16"),
        (np.full((9, 9, 3), 200.0), "divide it by 255"),
        (np.full((9, 9, 3), -0.1), "[0, 1]"),
        (np.full((9, 9, 3), np.nan), "NaN"),
        (np.full((9, 9, 3), np.inf), "infinite"),
        (torch.zeros(9, 9, 3), "(3, H, W)"),
        (torch.zeros(1, 3, 9, 9), "(3, H, W)"),
        (torch.zeros(3, 9, 9, dtype=torch.uint8), "float in [0, 1]"),
        (torch.full((3, 9, 9), 255.0), "divide it by 255"),
        (Image.new("L", (9, 9)), "mode 'L'"),
        (Image.new("RGBA", (9, 9)), "convert"),
        ([[1, 2], [3, 4]], "list"),
        (None, "NoneType"),
        ("nowhere.png", "no such file"),
    ],
)
def test_bad_pictures(bad, words) -> None:
    refused(words, as_image, bad)


def test_polarity() -> None:
    assert [as_polarity(p) for p in ("parallel-crossed", "crossed-parallel", "none", 1, -1.0, "0", "+1", None)] == [
        1, -1, 0, 1, -1, 0, 1, None,
    ]  # fmt: skip
    refused("did you mean 'crossed-parallel'?", as_polarity, "crossed-paralel")
    for bad in (2, 0.5, np.nan):
        refused("parallel-crossed", as_polarity, bad)


def test_predict_is_the_model(model, views) -> None:
    found = model.predict(*views, polarity="crossed-parallel", iterations=2)
    tensors = [torch.from_numpy(as_image(view))[None] for view in views]
    with torch.no_grad():
        wanted = model(*tensors, polarity=-1.0, iterations=2).disparity[0, 0].numpy()
    assert found.shape == (40, 50) and found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_predict_restores_the_mode_of_every_module(model, views) -> None:
    model.train()
    frozen = next(iter(model.backbone.children())).eval()
    try:
        predict(model, *views, iterations=1)
        assert model.training and model.update.training and not frozen.training
        with pytest.raises(PolzooError):
            predict(model, views[0], views[1][:-1])
        assert model.training
    finally:
        model.eval()


def test_bad_pairs(model, views) -> None:
    left, right = views
    refused("left is 50×40 pixels, right is 49×40", predict, model, left, right[:, 1:])
    refused("1×1", predict, model, left[:1, :1], right[:1, :1])
    refused("8 or more", predict, model, left[:7], right[:7])
    refused("whole number", predict, model, left, right, iterations=0)
    refused("whole number", predict, model, left, right, iterations=2.0)
    refused("previous", predict, model, left, right, previous=np.zeros((40, 49)))
    for odd in ("abc", [[1, 2], [3]], object()):
        refused("wanted is a disparity (H, W)", predict, model, left, right, previous=odd)
    refused("flip its sign", predict, model, left, right, previous=np.full((40, 50), -3.0))
    dips = np.full((40, 50), 3.0)
    dips[:9] = -0.5
    assert predict(model, left, right, previous=dips, iterations=1).shape == (40, 50)
    assert predict(model, left[:8, :8], right[:8, :8], iterations=1).shape == (8, 8)


def test_previous_lands_on_the_padded_feature_grid(model, views) -> None:
    stride, multiple = model.backbone.host.stride, model.backbone.multiple
    _, x = np.indices((40, 50), dtype=np.float32)
    given = as_inputs(model, *views, previous=10 + 0.1 * x).call["initial_disparity"]
    grid = [-(-n // multiple) * multiple // stride for n in (40, 50)]
    assert given.shape == (1, 1, *grid)
    left, _, top, _ = model.padding({"left": torch.zeros(1, 3, 40, 50)})
    row, column = (20 + top) // stride, (24 + left) // stride
    first = column * stride - left
    assert given[0, 0, row, column] * stride == pytest.approx(10 + 0.1 * (first + (stride - 1) / 2), abs=1e-4)
    assert predict(model, *views, iterations=1, previous=np.full((40, 50), 8.0)).shape == (40, 50)


def test_previous_with_holes(model, views) -> None:
    holes = np.full((40, 50), 12.0)
    holes[:, 20:] = np.nan
    holes[:3] = np.inf
    given = as_inputs(model, *views, previous=holes).call["initial_disparity"]
    torch.testing.assert_close(given, torch.full_like(given, 12 / model.backbone.host.stride))
    nothing = predict(model, *views, iterations=1, previous=np.full((40, 50), np.nan))
    np.testing.assert_array_equal(nothing, predict(model, *views, iterations=1))


def test_a_hole_of_any_size_is_filled(model) -> None:
    wide = np.zeros((8, 1600, 3), np.uint8)
    previous = np.full((8, 1600), np.nan)
    previous[:, :4] = 6.0
    given = as_inputs(model, wide, wide, previous=previous).call["initial_disparity"]
    torch.testing.assert_close(given, torch.full_like(given, 6 / model.backbone.host.stride))


def test_a_warm_start_starts_there(model, views) -> None:
    inputs = as_inputs(model, *views, iterations=1, previous=np.full((40, 50), 20.0))
    with torch.no_grad():
        prepared = model.prepare(inputs.left, inputs.right, **inputs.call)
    assert torch.allclose(prepared.start[1] * model.backbone.host.stride, torch.tensor(20.0))


# ── named maps ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Shift(Fusion):
    """Reads the map ``stokes`` of both views and nothing else: it lowers the matching cost by S1."""

    needs = "stokes"
    reach = None

    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost - self.maps.mean(1, keepdim=True)

    def encode(self, call, encoding):
        both = [call.pair.polarization[f"stokes_{side}"] for side in ("left", "right")]
        self.maps = functional.avg_pool2d(both[0] - both[1], self.host.stride)


@pytest.fixture
def reader():
    """A tiny model whose fusion declares a named map."""
    with registry().temporary("fusion", "shift", Shift, Options):
        torch.manual_seed(0)
        yield polzoo.build(TINY.partition("+")[0] + "+shift").eval()


def test_a_fusion_gets_the_maps_that_it_declares(reader, views) -> None:
    seen = [from_dolp(np.full((40, 50), 0.8), np.full((40, 50), d), np.zeros((40, 50))) for d in (0.9, 0.1)]
    made = as_views(*seen, needs=reader.fusion.needs)
    assert sorted(made.polarization) == ["stokes_left", "stokes_right"]
    found = predict(reader, *views, polarization=made.polarization, iterations=2)
    assert found.shape == (40, 50) and reader.fusion.maps.shape[-2:] == (16, 16)  # padded as the images are
    np.testing.assert_allclose(reader.fusion.maps.mean((0, 2, 3)), [0, 0.64, 0], atol=1e-6)
    none = {name: np.zeros_like(values) for name, values in made.polarization.items()}
    assert not np.array_equal(found, predict(reader, *views, polarization=none, iterations=2))


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({}, "the fusion 'shift' reads stokes_left, stokes_right, which the call does not give"),
        ({"stokes_left": np.zeros((3, 40, 50), np.float32)}, "reads stokes_right, which the call does not give"),
        ({"stokes_left": (3, 40, 49)}, "stokes_left must be a float tensor (1, 3, 40, 50)"),
        ({"stokes_left": (40, 50)}, "stokes_left is torch.float32 (40, 50); a map is float (C, H, W)"),
        ({"stokes_left": np.zeros((3, 40, 50), np.uint8)}, "stokes_left is torch.uint8"),
        ({"stokes_left": np.full((3, 40, 50), np.nan)}, "finite throughout"),
    ],
)
def test_maps_that_are_missing_or_do_not_fit(reader, views, maps, words) -> None:
    given = {name: np.zeros(m, np.float32) if isinstance(m, tuple) else m for name, m in maps.items()}
    if len(given) == 1 and "which the call" not in words:
        given["stokes_right"] = np.zeros((3, 40, 50), np.float32)
    refused(words, predict, reader, *views, polarization=given)


def test_a_batch_needs_maps_for_every_sample(reader) -> None:
    pair, one = torch.rand(2, 3, 32, 32), torch.rand(1, 3, 32, 32)
    with pytest.raises(PolzooError, match=r"must be a float tensor \(2, 3, 32, 32\)"):
        reader(pair, pair, polarization={"stokes_left": one, "stokes_right": one})


# ── does it look like a pair? ─────────────────────────────────────────────────────────────────────────────────────────

SWAPPED, ROWS, SAME = "swapped", "rectified", "same picture"


def warned(left, right, disparity=None) -> list[str]:
    """Which warnings a pair gets, by a word of each."""
    found = check_pair(np.ascontiguousarray(left), np.ascontiguousarray(right), disparity)
    return [next(word for word in (SWAPPED, ROWS, SAME) if word in line) for line in found]


def test_real_pairs_raise_no_false_alarm_and_their_mistakes_are_caught(shared, tmp_path) -> None:
    write = runpy.run_path(str(ROOT / "benchmarks" / "real_pairs.py"))["write_manifest"]
    data = Folder(FolderOptions(path=str(write(shared / "data", tmp_path / "real_pairs.csv"))))
    for pair in (data[i] for i in range(len(data))):
        left, right = pair.left, pair.right
        assert pair.disparity is not None
        assert warned(left, right, pair.disparity[0]) == [], pair.name
        assert warned(right, left) == [SWAPPED], pair.name
        assert warned(left[:, 3:], right[:, :-3]) == [ROWS], pair.name


@pytest.mark.parametrize("analysers", ["parallel-crossed", "none"])
def test_generator_pairs_raise_no_false_alarm(analysers) -> None:
    data = Synthetic(SyntheticOptions(seed=10_000_001, length=6, analysers=analysers))
    caught = []
    for i in range(len(data)):
        assert warned(data[i].left, data[i].right) == []
        caught.append((warned(data[i].right, data[i].left), warned(data[i].left[:, 3:], data[i].right[:, :-3])))
    assert sum(found == ([SWAPPED], [ROWS]) for found in caught) >= 4  # the rest have too little texture to tell


def test_other_suspicions() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.random((2, 3, 40, 60), dtype=np.float32)
    assert warned(left, left) == [SAME]
    assert warned(np.zeros_like(left), np.zeros_like(left)) == [SAME]
    assert warned(left, right) == []
    assert warned(left, right, np.full((40, 60), -5.0)) == [SWAPPED]
    assert warned(left, right, np.full((40, 60), np.nan)) == []
    assert warned(np.full_like(left, 0.2), np.full_like(left, 0.3)) == []
    assert warned(left[:, :8, :8], right[:, :8, :8]) == []
