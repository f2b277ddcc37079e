"""flashgru: every backend gives what ``naive`` gives, and ``naive`` is the definition."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polzoo
from polzoo.errors import PolzooError
from polzoo.interfaces import Cell, Host
from polzoo.options import Options
from polzoo.parts import row_lookup
from polzoo.registry import registry
from polzoo.spec import ModelSpec, make_part
from polzoo.updates.cells import RaftCell, RaftLiteCell, SelectiveCell
from polzoo.updates.dense import Dense
from polzoo.updates.flashgru import flash, naive, sparse
from polzoo.updates.flashgru.naive import Masked
from polzoo.updates.flashgru.packed import Packed, Unprepared, supports
from polzoo.updates.flashgru.rows import Pixels
from polzoo.updates.flashgru.rulebook import Rulebook
from polzoo.zoo import build, make_operator

CELLS = {"raft": RaftCell, "raft-slow-fast": RaftCell, "selective": SelectiveCell, "raft-lite": RaftLiteCell}


def masks(h: int, w: int, batch: int = 2) -> dict[str, Tensor]:
    """Name → (batch, 1, h, w) bool, another number of pixels in each sample where the name allows it."""
    blank = torch.zeros(batch, 1, h, w, dtype=torch.bool)
    found = {name: blank.clone() for name in ("empty", "one pixel", "corner", "edge", "tiles", "one sample")}
    found["one pixel"][0, 0, h // 2, w // 2] = True
    found["corner"][:, :, 0, 0] = found["corner"][:, :, -1, -1] = True
    found["edge"][0, :, :, w // 3] = found["edge"][1:, :, h // 2] = True
    found["tiles"][:, :, :4, :4] = found["tiles"][1:, :, 4:8, 8:12] = True
    found["one sample"][1:] = True
    found["random"] = torch.rand(batch, 1, h, w, generator=torch.Generator().manual_seed(3)) < 0.2
    return {**found, "full": torch.ones_like(blank)}


def make_cell(name: str, dtype: torch.dtype = torch.float32) -> Cell:
    """A small cell with seeded weights whose gates are in the range where they act."""
    levels = 1 if name == "raft-lite" else 3
    extra = {"raft": 3, "raft-slow-fast": 3, "selective": 1, "raft-lite": 1}[name]
    contexts = (18, 24, 12) if extra == 3 else (7, 7, 7)
    host = Host(4, 8, (6, 8, 4)[:levels], contexts[:levels], row_lookup(2, 2))
    torch.manual_seed(0)
    rest = {"width": 5, "slow_fast": name == "raft-slow-fast"} if name != "raft-lite" else {}
    cell = CELLS[name](host, 10, **rest)
    for parameter in cell.parameters():
        parameter.data = parameter.data.to(dtype) * 2
    cell.context_dims = host.context_dims  # what the tests make contexts of
    cell.hidden_dims = host.hidden_dims
    return cell


def spec(backbone: str, fusion: str = "none", **options) -> ModelSpec:
    def part(kind: str, name: str, given: dict):
        return make_part(kind, name, {**registry().get(kind, name).options().tiny, **given})

    return ModelSpec(part("backbone", backbone, {}), part("fusion", fusion, {}), part("update", "flashgru", options))


@pytest.fixture
def models():
    """``models(backbone, fusion, **options)``: a tiny model under flashgru, the same weights for all options."""
    made = {}

    def get(backbone: str, fusion: str = "none", **options):
        wanted = spec(backbone, fusion, **options)
        if (backbone, fusion) not in made:
            torch.manual_seed(0)
            model = build(wanted).eval()
            for parameter in model.fusion.parameters():
                parameter.data += 0.2 * torch.randn_like(parameter)
            made[backbone, fusion] = model
        return made[backbone, fusion].with_operator(wanted, make_operator(wanted.update))

    return get


def pair(b: int = 2, h: int = 64, w: int = 96) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 0.3, 0.6])[:b].view(-1, 1, 1, 1)
    return scale * torch.rand(b, 3, h, w, generator=g), scale * torch.rand(b, 3, h, w, generator=g)


NAMES = ["raft", "raft-slow-fast", "selective", "raft-lite"]
SIZES = [(12, 16), (13, 19), (9, 11)]  # the second and third do not divide by 2 and 4


def situation(cell, size, dtype=torch.float32, batch=2):
    """(hidden, raw context, cost, disparity) for a cell of conftest."""
    g = torch.Generator().manual_seed(1)

    def random(dim, level=0):
        h, w = (-(-n // 2**level) for n in size)
        return torch.randn(batch, dim, h, w, generator=g, dtype=torch.float64).to(dtype)

    hidden = tuple(random(dim, level).tanh() for level, dim in enumerate(cell.hidden_dims))
    context = tuple(random(dim, level) for level, dim in enumerate(cell.context_dims))
    return hidden, context, random(10), 5 * random(1).abs()


def levels_of(mask, hidden):
    """A mask of each level, from the finest's."""
    return [F.adaptive_max_pool2d(mask.float(), x.shape[-2:]) > 0 for x in hidden]


def run_naive(cell, hidden, context, cost, disparity, chosen, exact=True):
    return naive.step(cell, hidden, cell.prepare(context), cost, disparity, Masked(chosen, exact))


def run_sparse(cell, hidden, context, cost, disparity, chosen, exact=True, *, budgets=None, reuse=False):
    budgets = budgets or [None] * len(chosen)
    books = [Rulebook(mask, 2, budget) for mask, budget in zip(chosen, budgets, strict=True)]
    packed = Packed(books, sparse, exact, reuse)
    rows = Pixels(books[0]).grow(cell.lookup_reach).take(cost)
    return packed.step(cell, hidden, cell.prepare(context), rows, disparity)


def assert_same(found, wanted, tolerance=1e-5):
    for a, b in zip((*found[0], found[1]), (*wanted[0], wanted[1]), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert (a - b).abs().max() <= tolerance * (1 + b.abs().max())


@pytest.mark.parametrize("mask", masks(9, 9))
@pytest.mark.parametrize("name", NAMES)
def test_values_of_any_mask(name, mask):
    cell = make_cell(name)
    for size in SIZES:
        given = situation(cell, size)
        chosen = levels_of(masks(*size)[mask], given[0])
        with torch.no_grad():
            assert_same(run_sparse(cell, *given, chosen), run_naive(cell, *given, chosen))


@pytest.mark.parametrize("name", NAMES)
def test_values_of_the_active_variant(name):
    cell, size = make_cell(name), (13, 19)
    given = situation(cell, size)
    chosen = levels_of(masks(*size)["random"], given[0])
    with torch.no_grad():
        found = run_sparse(cell, *given, chosen, exact=False)
        assert_same(found, run_naive(cell, *given, chosen, exact=False))
        exact = run_naive(cell, *given, chosen)
    assert not torch.allclose(found[0][0], exact[0][0])


def test_naive_is_the_definition():
    """Level by level, h' = M ⊙ GRU(h, x) + (1 − M) ⊙ h, and Δ = M ⊙ head(h')."""
    cell: Any = make_cell("raft")
    hidden, context, cost, disparity = situation(cell, (12, 16))
    chosen, prepared = levels_of(masks(12, 16)["random"], hidden), cell.prepare(context)
    (fine, middle, coarse), delta = run_naive(cell, hidden, context, cost, disparity, chosen)
    keep = [mask.float() for mask in chosen]
    up = F.interpolate(hidden[2], hidden[1].shape[-2:], mode="bilinear", align_corners=True)
    new = cell.grus[2](hidden[2], prepared[2], F.avg_pool2d(hidden[1], 3, 2, 1))
    assert torch.allclose(coarse, keep[2] * new + (1 - keep[2]) * hidden[2], atol=1e-6)
    up = F.interpolate(coarse, hidden[1].shape[-2:], mode="bilinear", align_corners=True)
    new = cell.grus[1](hidden[1], prepared[1], torch.cat([F.avg_pool2d(hidden[0], 3, 2, 1), up], 1))
    assert torch.allclose(middle, keep[1] * new + (1 - keep[1]) * hidden[1], atol=1e-6)
    assert torch.allclose(delta, keep[0] * cell.delta(fine), atol=1e-6)
    assert torch.equal(fine[~chosen[0].expand_as(fine)], hidden[0][~chosen[0].expand_as(fine)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exact", [True, False])
def test_gradients_of_every_input_and_weight(name, exact):
    cell, size = make_cell(name, torch.float64), (7, 10)
    raw = situation(cell, size, torch.float64)
    chosen = levels_of(masks(*size)["random"], raw[0])
    gradients = []
    for run in (run_sparse, run_naive):
        own = copy.deepcopy(cell)
        hidden, context, cost, disparity = (
            tuple(x.clone().requires_grad_() for x in one) if isinstance(one, tuple) else one.clone().requires_grad_()
            for one in raw
        )
        state, delta = run(own, hidden, context, cost, disparity, chosen, exact)
        loss = sum(((x * x.detach().cos()).sum() for x in state), (delta * delta.detach().cos()).sum())
        leaves = [*hidden, *context, cost, disparity, *(p for n, p in own.named_parameters() if "weights" not in n)]
        gradients.append(torch.autograd.grad(loss, leaves))
    for found, wanted in zip(*gradients, strict=True):
        assert (found - wanted).abs().max() <= 1e-9 * (1 + wanted.abs().max())


def test_a_pixel_that_is_left_out_passes_its_gradient_on():
    cell = make_cell("raft-lite", torch.float64)
    hidden, context, cost, disparity = situation(cell, (7, 10), torch.float64)
    state = hidden[0].requires_grad_()
    new, _ = run_sparse(cell, (state,), context, cost, disparity, [masks(7, 10)["empty"]])
    (grad,) = torch.autograd.grad(new[0].sum(), state)
    assert torch.equal(grad, torch.ones_like(grad))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_as_far_from_the_truth_as_the_dense_form(name, dtype):
    """Both round to the format; the packed form is off by no more than a few of its steps."""
    cell, size = make_cell(name), (12, 16)
    given = situation(cell, size)
    chosen = levels_of(masks(*size)["random"], given[0])
    half = copy.deepcopy(cell).to(dtype)
    low: Any = tuple(tuple(x.to(dtype) for x in one) if isinstance(one, tuple) else one for one in given)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        found, dense = run_sparse(half, *low, chosen), run_naive(half, *low, chosen)  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        true = run_naive(cell, *given, chosen)
    for a, b, c in zip((*found[0], found[1]), (*dense[0], dense[1]), (*true[0], true[1]), strict=True):
        eps = torch.finfo(dtype).eps
        assert (a.float() - c).abs().max() <= 3 * (b.float() - c).abs().max() + 4 * eps * (1 + c.abs().max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exact", [True, False])
def test_sets_of_a_size_fixed_ahead_give_the_same(name, exact):
    cell, size = make_cell(name), (13, 19)
    given = situation(cell, size)
    chosen = levels_of(masks(*size)["random"], given[0])
    budgets = [int(mask.flatten(1).sum(1).max()) + 3 for mask in chosen]
    with torch.no_grad():
        found = run_sparse(cell, *given, chosen, exact, budgets=budgets)
        assert_same(found, run_naive(cell, *given, chosen, exact))


def test_nothing_reads_memory_that_was_never_written():
    """With every buffer full of NaN before its first use, the values are the same."""
    cell, size = make_cell("selective"), (13, 19)
    given = situation(cell, size)
    chosen = levels_of(masks(*size)["edge"], given[0])
    with torch.no_grad():
        plain = run_sparse(cell, *given, chosen)
        torch.use_deterministic_algorithms(True)  # with fill_uninitialized_memory, which is on by default
        try:
            assert torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore
            assert torch.isnan(torch.empty(3)).all()
            filled = run_sparse(cell, *given, chosen)
        finally:
            torch.use_deterministic_algorithms(False)
    assert_same(filled, plain, 0)


def test_states_are_written_in_place_only_when_nobody_looks_back(models):
    model, views = models("raft", density=0.3), pair()
    with torch.inference_mode():
        plain, traced = model(*views, iterations=3), model(*views, iterations=3, trace=True)
    assert torch.equal(plain.disparity, traced.disparity)
    first, last = traced.trace[0].hidden[0], traced.trace[-1].hidden[0]
    assert first.data_ptr() != last.data_ptr() and not torch.equal(first, last)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_written_past_their_version_are_noticed(name):
    cell = make_cell(name)
    given = situation(cell, (12, 16))
    chosen = levels_of(masks(12, 16)["random"], given[0])
    with torch.no_grad():
        before = run_sparse(cell, *given, chosen)
        for parameter in cell.parameters():
            parameter.data.mul_(0.5)
        after = run_sparse(cell, *given, chosen)
        assert_same(after, run_naive(cell, *given, chosen))
    assert not torch.allclose(before[0][0], after[0][0], atol=1e-3)


@pytest.mark.parametrize("backbone", ["raft", "raft-lite", "igev"])
@pytest.mark.parametrize("fusion", ["none", "v1", "v2", "v2c", "v2d"])
def test_whole_models_agree(models, backbone, fusion):
    outs = []
    for backend in ("naive", "sparse"):
        with torch.inference_mode():
            outs.append(models(backbone, fusion, density=0.2, backend=backend)(*pair(2, 60, 130), iterations=3))
    naive_out, sparse_out = outs
    torch.testing.assert_close(sparse_out.disparity, naive_out.disparity, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["raft", "raft-lite", "igev"])
def test_density_one_is_dense(models, backbone):
    model, views = models(backbone, density=1.0), pair()
    dense = model.with_operator(model.spec, Dense(Options()))
    with torch.inference_mode():
        found, wanted = (m(*views, iterations=3).disparity for m in (model, dense))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


def test_repeats_exactly_and_starts_warm(models):
    model, views = models("raft", density=0.25), pair(1)
    with torch.inference_mode():
        whole, again = (model(*views, iterations=3).disparity for _ in range(2))
        first = model(*views, iterations=1)
        warm = model(*views, iterations=2, state=first.state).disparity
    assert torch.equal(whole, again)
    torch.testing.assert_close(warm, whole, atol=1e-5, rtol=1e-5)


def test_training_under_the_mask_reaches_every_weight(models):
    model = copy.deepcopy(models("igev", "v2c", density=0.4)).train()
    model(*pair(), iterations=2).disparity.square().mean().backward()
    missing = [n for n, p in model.update.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing


class Foreign(Cell):
    """A third party's cell: documented methods alone."""

    motion_reach, lookup_reach = 1, 1

    def __init__(self, dims: int, lookup: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(dims + lookup, dims, 3, padding=1), nn.Conv2d(dims, 1, 1)

    def motion(self, cost, disparity, at):
        return at.take(disparity) * cost

    def update(self, level, hidden, context, motion):
        return torch.tanh(self.conv(torch.cat([hidden[0], motion], 1)))

    def head(self, hidden):
        return self.out(hidden)


def test_a_third_partys_cell_runs(models):
    model = models("raft-lite", density=0.2)
    cell = Foreign(model.backbone.host.hidden_dims[0], len(model.backbone.host.lookup))
    assert not supports(cell) and supports(model.update)
    with torch.inference_mode():
        out = model.refine(model.prepare(*pair(), iterations=2), cell, trace=True)
    share = (out.trace[0].delta != 0).float().mean().item()
    assert share == pytest.approx(0.2, abs=0.01)
    assert model.operator.execution(cell, "cpu").startswith("naive")


def test_a_subclass_that_overrides_update_is_not_taken_apart():
    class Other(type(make_cell("raft-lite"))):
        def update(self, level, hidden, context, motion):
            return hidden[0]

    cell = make_cell("raft-lite")
    cell.__class__ = Other
    assert not supports(cell)


@pytest.mark.parametrize(
    "density, narrow, wide", [(0.02, Pixels, Pixels), (0.95, Masked, Pixels), (1.0, Masked, Pixels)]
)
def test_auto_is_dense_beyond_break_even_and_wide_states_never(models, monkeypatch, density, narrow, wide):
    for least, kind in ((flash.WIDE, narrow), (1, wide)):
        monkeypatch.setattr(flash, "WIDE", least)
        model = models("raft-lite", density=density, backend="auto")
        with torch.inference_mode():
            at = model(*pair(), iterations=1).state.sites
        assert isinstance(at, kind)


class Toward:
    """An importance for the tests: the column."""

    def __init__(self, options):
        self.options = options

    def __call__(self, encoding, disparity, step):
        return torch.arange(float(disparity.shape[-1])).expand_as(disparity)


class Wrong(Toward):
    def __call__(self, encoding, disparity, step):
        return disparity[..., :-1]


class Broken(Toward):
    def __call__(self, encoding, disparity, step):
        return torch.full_like(disparity, float("nan"))


def test_a_registered_importance_says_where(models):
    with registry().temporary("importance", "toward", Toward):
        model = models("raft-lite", importance="toward", density=0.25)
        with torch.inference_mode():
            out = model(*pair(), iterations=1, trace=True)
    moved = out.trace[0].delta != 0
    assert moved[..., -6:].all() and not moved[..., :-6].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"density": 0.0}, "greater than 0"),
        ({"density": 1.5}, "less than or equal to 1"),
        ({"density": []}, "empty"),
        ({"density": 0.5, "top_k": 10}, "give one of them"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"importance": "atention"}, "did you mean 'attention'"),
        ({"backend": "cuda"}, "backend"),
    ],
)
def test_bad_options_are_one_line(options, words):
    given = ",".join(f"{k}={v!r}".replace("'", '"') for k, v in options.items())
    with pytest.raises(PolzooError, match=words) as error:
        polzoo.build(f"raft-lite+flashgru({given})")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"importance": "attention"}, "any model: gradient, motion, auto; gate where the fusion has one$"),
        ({"importance": "gate"}, "records no gate"),
        ({"importance": "wrong"}, r"is \(2, 1, 16, 23\), it must be \(2, 1, 16, 24\)"),
        ({"importance": "broken", "threshold": 0.1}, "NaN somewhere"),
        ({"density": [0.2, 0.3]}, "2 numbers for 1 levels"),
        ({"backend": "triton"}, "CUDA|Triton|CPU"),
    ],
)
def test_bad_calls_are_one_line(models, options, words, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    options = {"density": 0.3, **options}
    with registry().temporary("importance", "wrong", Wrong), registry().temporary("importance", "broken", Broken):
        model = models("raft-lite", **options)
        with pytest.raises(PolzooError, match=words) as error, torch.inference_mode():
            model(*pair(), iterations=2)
    assert "\n" not in str(error.value)


def test_a_grid_below_one_neighbourhood_is_refused(models):
    model = models("raft-lite", density=0.3)
    prepared = model.prepare(*pair(), iterations=1)
    step = next(iter(prepared.call.steps(0)))
    with pytest.raises(PolzooError, match="3×3"):
        model.operator.sites(model.update, prepared.encoding, prepared.first[..., :2, :], step)


def test_first_iterations_may_be_dense(models):
    with torch.inference_mode():
        out = models("raft-lite", density=0.2, dense_steps=2)(*pair(), iterations=4, trace=True)
    shares = [(one.delta != 0).float().mean().item() for one in out.trace]
    assert shares == pytest.approx([1, 1, 0.2, 0.2], abs=0.01)


def test_top_k_counts_per_sample_and_a_quarter_per_level(models):
    with torch.inference_mode():
        at = models("raft", density=None, top_k=37)(*pair(), iterations=1).state.sites
    assert [book.mask.flatten(1).sum(1).tolist() for book in at.packed.books] == [[37, 37], [10, 10], [3, 3]]


def test_shipped_checkpoint_runs_sparse():
    pytest.importorskip("safetensors")
    dense, model = (polzoo.load("polstereo-nano", update=u) for u in (None, "flashgru(density=0.2)"))
    views = pair(1, 64, 160)
    with torch.inference_mode():
        found, wanted = model(*views).disparity, dense(*views).disparity
    assert found.shape == wanted.shape and torch.isfinite(found).all() and not torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["selective", "raft-lite", "raft"])
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "gradients"])
def test_a_context_prepared_where_it_is_read_gives_the_same(name, grad):
    """Half of the maps is NaN, which no active pixel may see."""
    cell: Any = make_cell(name)
    hidden, context, cost, disparity = situation(cell, (12, 24))
    mask = torch.zeros(2, 1, 12, 24, dtype=torch.bool)
    mask[0, 0, 5, 4] = mask[1, 0, :3, 2] = True
    books = [Rulebook(m) for m in levels_of(mask, hidden)]
    with torch.set_grad_enabled(grad):
        wanted, known = (
            Packed(books, sparse, True, False).step(cell, hidden, given, cost, disparity)[0]
            for given in (cell.prepare(context), Unprepared(cell, context))
        )
        for x in context:
            x[..., -(x.shape[-1] // 4) :] = torch.nan
        blind = Packed(books, sparse, True, False).step(cell, hidden, Unprepared(cell, context), cost, disparity)[0]
    for one, other, third in zip(wanted, known, blind, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(third, one, atol=1e-5, rtol=1e-5)


def test_a_context_is_prepared_everywhere_only_where_a_step_asks(models):
    for options, late in (({}, True), ({"refresh": "each-step"}, False), ({"backend": "naive"}, False)):
        model = models("igev", **options)
        with torch.inference_mode():
            prepared = model.prepare(*pair(), iterations=1)
            context = model.operator.prepare(model.update, prepared.encoding.context)
        assert isinstance(context, Unprepared) == late
