"""The Triton kernels, run by Triton's interpreter on the CPU, against plain PyTorch in double precision.

``test_triton.py`` runs this file in a process of its own, because Triton has to be told before it is imported; by hand:
``TRITON_INTERPRET=1 pytest tests/updates/interpreted_triton.py``.
"""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from polzoo.evaluation.benchmark_flashgru import OneStep, _sparse_step
from polzoo.registry import registry
from polzoo.spec import ModelSpec, make_part
from polzoo.updates.cells import ConvGRU
from polzoo.updates.flashgru import sparse, triton
from polzoo.updates.flashgru.kernels import Tile
from polzoo.updates.flashgru.rows import Pixels
from polzoo.updates.flashgru.rulebook import Rulebook
from polzoo.zoo import build

TYPES = [torch.float32, torch.float16, torch.bfloat16]
ROWS = [(37, 21), (16, 16), (5, 0), (1, 1), (0, 0)]
"""(rows, active ones among them), on both sides of a tile's 16 rows."""


class Gates(NamedTuple):
    h: Tensor
    x: Tensor
    index_h: Tensor
    index_x: Tensor
    weight: Tensor
    context: Tensor
    centre: Tensor


class Blend(NamedTuple):
    rh: Tensor
    x: Tensor
    h: Tensor
    index_rh: Tensor
    index_x: Tensor
    weight: Tensor
    context: Tensor
    z: Tensor
    centre: Tensor


def between_nans(x: Tensor) -> Tensor:
    """The same values in the middle of a buffer of NaN; an index lies among indices of such rows."""
    fill = torch.nan if x.is_floating_point() else -1
    return torch.cat([torch.full_like(x[:1], fill), x, torch.full((40, *x.shape[1:]), fill, dtype=x.dtype)])[1:-40]


def rows(count: int, channels: int, dtype: torch.dtype) -> Tensor:
    return between_nans(sparse.with_zero(torch.randn(count, channels)).to(dtype))


def index(count: int, into: Tensor, taps: int) -> Tensor:
    """Random rows for each tap, the row of zeros among them, but not as a pixel's own."""
    found = torch.randint(0, len(into), (count, taps), dtype=torch.int32)
    found[:, taps // 2] %= len(into) - 1
    return between_nans(found)


def gates_case(count: int, hidden: int = 10, inputs: int = 19, dtype=torch.float32, kernel: int = 3) -> Gates:
    torch.manual_seed(count)
    h, x = rows(count + 13, hidden, dtype), rows(count + 4, inputs, dtype)
    weight = (torch.randn(2 * hidden, hidden + inputs, kernel, kernel) / (9 * hidden) ** 0.5).to(dtype)
    context = between_nans(torch.randn(count, 2 * hidden).to(dtype))
    centre = between_nans(torch.randperm(count + 13)[:count])
    return Gates(h, x, index(count, h, kernel**2), index(count, x, kernel**2), weight, context, centre)


def blend_case(count: int, hidden: int = 10, inputs: int = 19, dtype=torch.float32, kernel: int = 3) -> Blend:
    g = gates_case(count, hidden, inputs, dtype, kernel)
    rh, z = rows(count + 9, hidden, dtype), between_nans(torch.rand(count, hidden).to(dtype))
    index_rh, context = index(count, rh, kernel**2), between_nans(torch.randn(count, hidden).to(dtype))
    return Blend(rh, g.x, g.h, index_rh, g.index_x, g.weight[hidden:].clone(), context, z, g.centre)


def exact(function, case, **options):
    """What plain PyTorch makes of the same inputs in double precision."""
    return function(*(x.double() if x.is_floating_point() else x for x in case), **options)


def assert_rounded(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Equal but for one rounding to ``dtype`` (the interpreter cuts bfloat16 off), and 2e-6 for sums in float32."""
    assert found.dtype == dtype and found.shape == expected.shape
    step = torch.finfo(dtype).eps * (1.0 if dtype == torch.bfloat16 else 0.5)
    error = (found.double() - expected).abs() - 1.01 * step * expected.abs()
    assert not found.numel() or error.max() < 2e-6  # a NaN is not less


@pytest.fixture(autouse=True)
def _fresh_memory_is_nan():
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count, active", ROWS)
def test_gates(count, active, dtype):
    case = gates_case(count, dtype=dtype)
    z, rh = triton.gates(*case, active=active)
    expected_z, expected_rh = exact(sparse.gates, case)
    assert_rounded(z, expected_z[:active], dtype)
    assert_rounded(rh, expected_rh, dtype)
    assert not rh[-1].any()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", sorted({count for count, _ in ROWS}))
def test_blend(count, dtype):
    case = blend_case(count, dtype=dtype)
    assert_rounded(triton.blend(*case), exact(sparse.blend, case), dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count, channels, outputs, taps", [(18, 19, 10, 9), (18, 16, 33, 1), (0, 16, 5, 9)])
def test_a_convolution(count, channels, outputs, taps, dtype):
    case, start = convolution(count, channels, outputs, taps, dtype), torch.randn(outputs).to(dtype)
    plain = sparse.Tap(case.rows.double(), case.index, case.matrix.double())
    for begin in (start, between_nans(torch.randn(count, outputs).to(dtype))):
        expected = sparse.convolve([plain], begin.double())
        assert_rounded(triton.convolve([case], begin), expected, dtype)


def convolution(count: int, channels: int, outputs: int, taps: int, dtype=torch.float32) -> sparse.Tap:
    torch.manual_seed(count)
    values = rows(30, channels, dtype)
    matrix = torch.randn(taps * channels, outputs) / (taps * channels) ** 0.5
    return sparse.Tap(values, index(count, values, taps), matrix.to(dtype))


def test_a_convolution_of_two_terms_one_of_them_thin():
    terms, start = (convolution(18, 19, 10, 9), convolution(18, 3, 10, 25)), torch.randn(18, 10)

    def sum_of(function):
        return lambda *x: function([sparse.Tap(*x[:3]), sparse.Tap(*x[3:6])], x[6])

    case = *terms[0], *terms[1], start
    torch.testing.assert_close(sum_of(triton.convolve)(*case), sum_of(sparse.convolve)(*case), atol=2e-6, rtol=1e-5)
    assert_same_gradients(sum_of(triton.convolve), sum_of(sparse.convolve), case)


@pytest.mark.parametrize("hidden, inputs", [(16, 32), (17, 3)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_channels_that_no_tile_divides_and_kernels_of_one(hidden, inputs, kernel):
    case = gates_case(17, hidden, inputs, kernel=kernel)
    for found, expected in zip(triton.gates(*case), exact(sparse.gates, case), strict=True):
        assert_rounded(found, expected, torch.float32)
    case = blend_case(17, hidden, inputs, kernel=kernel)
    assert_rounded(triton.blend(*case), exact(sparse.blend, case), torch.float32)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_two_phases_are_a_dense_step_at_the_active_pixels(share):
    torch.manual_seed(3)
    b, c, cx, h, w = 2, 6, 9, 5, 7
    gru, state, x = ConvGRU(c, cx), torch.randn(b, c, h, w), torch.randn(b, cx, h, w)
    context = torch.randn(b, 3 * c, h, w)
    book = Rulebook(torch.rand(b, 1, h, w) < share)
    pixels = lambda m: m.permute(0, 2, 3, 1).flatten(0, 2)  # noqa: E731
    own, ring, wide = (book.ids(radius) for radius in range(3))
    rows_h, rows_x = sparse.with_zero(pixels(state)), sparse.with_zero(pixels(x)[wide])
    z_r, q = torch.cat([gru.convz.weight, gru.convr.weight]), gru.convq.weight
    bias = torch.cat([gru.convz.bias, gru.convr.bias, gru.convq.bias])  # pyright: ignore
    known = pixels(context) + bias
    with torch.no_grad():
        z, rh = triton.gates(
            rows_h, rows_x, book.dense_taps(1, 3), book.taps(1, 2, 3), z_r, known[ring, : 2 * c], ring, active=len(own)
        )
        new = triton.blend(
            rh, rows_x, rows_h, book.taps(0, 1, 3), book.taps(0, 2, 3), q, known[own, 2 * c :], z, own
        )  # fmt: skip
        dense = gru(state, context.chunk(3, 1), x)
    assert len(own) == (book.mask.sum() if share else 0)
    torch.testing.assert_close(new, pixels(dense)[own], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("real", [0, 5, 16, 20])
def test_rows_that_stand_for_no_pixel(real):
    """As a budget fixed ahead leaves them, last: they disturb nothing, and whole tiles of them are zero."""
    g, b, c = gates_case(37), blend_case(37), convolution(37, 16, 10, 9)
    for case, nowhere in ((g, len(g.h) - 1), (b, len(b.h) - 1)):
        case.centre[real:] = nowhere
    for where, values in ((g.index_h, g.h), (g.index_x, g.x), (b.index_rh, b.rh), (b.index_x, b.x), (c.index, c.rows)):
        where[real:] = len(values) - 1
    (z, rh), new, out = triton.gates(*g), triton.blend(*b), triton.convolve([c], torch.ones(10))
    tile = -(-real // 16) * 16
    for found, expected in (
        (z, exact(sparse.gates, g)[0]),
        (rh, exact(sparse.gates, g)[1]),
        (new, exact(sparse.blend, b)),
        (out, sparse.convolve([c], torch.ones(10)).double()),
    ):
        assert_rounded(found[:real], expected[:real], torch.float32)
        assert not found[tile:].any()


def test_the_same_twice():
    g, b = gates_case(17, dtype=torch.float16), blend_case(17, dtype=torch.float16)
    for one, two in zip((*triton.gates(*g), triton.blend(*b)), (*triton.gates(*g), triton.blend(*b)), strict=True):
        assert torch.equal(one, two)


def test_tensors_that_are_not_contiguous():
    case = gates_case(18)
    strided = Gates(*(x.repeat_interleave(2, -1)[..., ::2] for x in case))
    assert not strided.h.is_contiguous()
    for one, two in zip(triton.gates(*strided), triton.gates(*case), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("active", [None, 11, 0])
def test_gradients_of_the_gates(active):
    case = gates_case(18)
    assert_same_gradients(triton.gates, sparse.gates, case, active=active)


def test_gradients_of_the_blend():
    assert_same_gradients(triton.blend, sparse.blend, blend_case(18))
    assert_same_gradients(triton.blend, sparse.blend, blend_case(0))


def assert_same_gradients(fused, plain, case, **options):
    results = []
    for function in (fused, plain):
        inputs = [x.clone().requires_grad_(x.is_floating_point()) for x in case]
        out = function(*inputs, **options)
        out = out if isinstance(out, tuple) else (out,)
        torch.manual_seed(0)
        torch.autograd.backward(out, [torch.randn(o.shape) for o in out])
        results.append([x.grad for x in inputs if x.is_floating_point()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
        assert expected.any() or not case[-1].numel()


def test_only_the_gradients_that_are_asked_for():
    case = blend_case(18)
    weight = case.weight.clone().requires_grad_()
    triton.blend(*case._replace(weight=weight)).sum().backward()
    assert weight.grad is not None and case.h.grad is None


def test_autocast_computes_as_a_convolution_would():
    case = gates_case(18)
    weight = case.weight.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        z, rh = triton.gates(*case._replace(weight=weight))
        plain_z, plain_rh = sparse.gates(*case)
    assert z.dtype == plain_z.dtype == torch.bfloat16 and rh.dtype == plain_rh.dtype == torch.float32
    torch.testing.assert_close(z, plain_z, atol=1e-2, rtol=0)
    torch.testing.assert_close(rh, plain_rh, atol=3e-2, rtol=0)
    rh.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_a_weight_that_is_written_to_is_packed_again():
    case = gates_case(5)
    before, _ = triton.gates(*case)
    assert triton.pack(case.weight, 10, torch.float32).h is triton.pack(case.weight, 10, torch.float32).h
    case.weight.mul_(2)
    after, _ = triton.gates(*case)
    assert_rounded(after, exact(sparse.gates, case)[0], torch.float32)
    assert not torch.equal(before, after)


def test_in_inference_mode():
    with torch.inference_mode():
        case = gates_case(18)
        z, _ = triton.gates(*case)
    assert z.is_inference()
    assert_rounded(z, exact(sparse.gates, case)[0], torch.float32)


def test_rows_beyond_two_to_the_31_elements():
    torch.use_deterministic_algorithms(False)  # else 4 GB would be filled, of which a few rows are ever touched
    h = torch.empty(2**28 + 10, 8, dtype=torch.float16)
    torch.use_deterministic_algorithms(True)
    last = torch.arange(len(h) - 5, len(h))
    h[last] = torch.randn(5, 8, dtype=torch.float16)
    case = gates_case(5, 8, 3, torch.float16)._replace(centre=last)
    far = case._replace(h=h, index_h=last[torch.randint(5, (5, 9))].int())
    near = far._replace(h=h[last], index_h=far.index_h - last[0].int(), centre=last - last[0])
    for one, two in zip(triton.gates(*far), triton.gates(*near), strict=True):
        assert torch.equal(one, two)


def test_the_step_that_is_measured_runs_by_the_kernels():
    torch.manual_seed(0)
    mask, unit = torch.rand(1, 1, 6, 7) < 0.2, ConvGRU(16, 16)
    h, x, *context = (torch.randn(1, 16, 6, 7) for _ in range(5))
    with torch.no_grad():
        run = _sparse_step("triton", mask, unit, h, tuple(context), x)
        assert isinstance(run, OneStep) and run.packed.kernels is triton
        torch.testing.assert_close(run(), torch.where(mask, unit(h, tuple(context), x), h), atol=1e-5, rtol=0)
        assert run.in_kernels()[1] > 0


@pytest.mark.parametrize("budget", [None, 6])
def test_networks_at_pixels_run_by_the_kernels(budget, monkeypatch):
    """Motion encoder and heads: what a Sequential gives at some pixels, by the kernels, is what it gives everywhere."""
    torch.manual_seed(0)
    mask = torch.zeros(2, 1, 6, 7, dtype=torch.bool)
    mask[0, 0, 0, 0] = mask[1, 0, 3, 3:5] = True
    net = nn.Sequential(nn.Conv2d(18, 17, 3, padding=1), nn.ReLU(), nn.Conv2d(17, 3, 3, padding=1, bias=False))
    at, x, launched = Pixels(Rulebook(mask, 2, budget), 0, triton), torch.randn(2, 18, 6, 7), []
    launch = triton._launch
    monkeypatch.setattr(triton, "_launch", lambda name, *given: (launched.append(name), launch(name, *given)))
    with torch.no_grad():
        found, wanted = at.run(net, at.grow(2).take(x)), at.take(net(x))
    live = at.ids < at.book.pixels
    torch.testing.assert_close(found.values[live], wanted.values[live], atol=1e-5, rtol=1e-5)
    assert launched == ["convolve", "convolve"]


@pytest.mark.parametrize(
    "backbone, fusion, neighbours",
    [("raft", "none", "exact"), ("raft-lite", "v2c", "active"), ("igev", "none", "exact")],
)
def test_a_whole_model_is_the_naive_one(backbone, fusion, neighbours):
    """Two iterations of a tiny model: every unit, every level, motion encoder and head by the kernels."""
    parts = {"backbone": backbone, "fusion": fusion, "update": "flashgru"}
    tiny = {kind: registry().get(kind, name).options().tiny for kind, name in parts.items() if kind != "update"}
    options, outs = {"density": 0.1, "importance": "gradient", "neighbours": neighbours}, []
    views = torch.rand(2, 1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    for backend in ("naive", "triton"):
        given = {**tiny, "update": {**options, "backend": backend}}
        spec = ModelSpec(*(make_part(kind, name, given[kind]) for kind, name in parts.items()))
        torch.manual_seed(0)
        with torch.inference_mode():
            outs.append(build(spec).eval()(*views, iterations=2))
    assert isinstance(outs[1].state.sites, Pixels) and outs[1].state.sites.kernels is triton
    torch.testing.assert_close(outs[1].disparity, outs[0].disparity, atol=1e-4, rtol=1e-5)


def test_what_would_read_beyond_a_tensor_is_refused():
    case = gates_case(5)
    with pytest.raises(ValueError, match="do not fit"):
        triton.gates(*case._replace(x=case.x[:, :-1]))
    with pytest.raises(ValueError, match="do not fit"):
        triton.gates(*case._replace(index_h=case.index_h[:-1]))


@pytest.mark.parametrize("rows, active", [(17, 9), (16, 16)])
def test_bytes_are_those_of_the_formula(rows, active):
    from polzoo.evaluation.benchmark_flashgru_bytes import Gru, counted, requested

    gru, gates, blend = Gru(10, 19, 2), Tile(16, 16, 16, 1, 1), Tile(32, 16, 16, 1, 1)
    formula = requested(gru, rows, 20, gates, active), requested(gru, active, 10, blend)
    assert counted(gru, rows, active, gates, blend) == formula
