"""FlashGRU against dense forms: Pip-Stereo's Table 4, and one step of the finest unit alone.

Table 4 is the recurrent part of four iterations at three sizes: latency, peak memory, bytes. Everything at one size
takes turns. Bytes and operations are counted from what is executed (:mod:`.benchmark_flashgru_bytes`), the time that a
machine needs at least for them follows from its rates in a large convolution and a large copy.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo import memory
from polzoo.errors import PolzooError, one_line
from polzoo.evaluation import machine
from polzoo.evaluation.benchmark_flashgru_bytes import Traffic
from polzoo.evaluation.benchmark_flashgru_forms import (
    DENSE,
    IMAGE,
    NATIVE,
    STRIDE,
    Flash,
    Form,
    Scene,
    dense,
    launched,
)
from polzoo.evaluation.benchmark_pair import picture
from polzoo.evaluation.benchmark_result import DType, Record, Run, Spread
from polzoo.evaluation.benchmark_timing import Sample, clock, synchronise, take_turns, threads
from polzoo.interfaces import Encoding, Memory, Pair, Step
from polzoo.options import Options
from polzoo.updates.cells import ConvGRU
from polzoo.updates.flashgru.flash import arithmetic, kernels_of
from polzoo.updates.flashgru.packed import Packed
from polzoo.updates.flashgru.rows import Grid, Pixels
from polzoo.updates.flashgru.rulebook import Rulebook, budget, choose
from polzoo.updates.flashgru.sparse import with_zero
from polzoo.updates.importance import Gradient
from polzoo.updates.options import FlashGRUOptions

SIZES = (320, 736), (640, 1472), (1280, 2944)
DENSITIES = 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0
STEP = 640, 1472
"""Size of the images whose finest step is measured alone; a quarter of it are the features."""

PAPER = {  # Table 4, RTX 4090: ms and MiB of native units and of FlashGRU, fewer memory requests
    (320, 736): {"native_ms": 28.8, "flash_ms": 14.8, "native_mib": 743, "flash_mib": 561, "requests": -0.581},
    (640, 1472): {"native_ms": 45.2, "flash_ms": 15.2, "native_mib": 1431, "flash_mib": 715, "requests": -0.764},
    (1280, 2944): {"native_ms": 122.4, "flash_ms": 16.8, "native_mib": 4105, "flash_mib": 957, "requests": -0.809},
}

Progress = Callable[[str], None]


class FlashSetting(Record):
    """What is measured: ``rounds`` count after one that does not; ``seconds`` is when no further form is begun."""

    sizes: tuple[tuple[int, int], ...] = SIZES
    densities: tuple[float, ...] = DENSITIES
    images: tuple[str, ...] = (str(IMAGE),)
    channels: int = 128
    iterations: int = 4
    device: str = "cpu"
    dtype: DType = "float32"
    backend: Literal["auto", "naive", "sparse", "triton"] = "auto"
    threads: int = 2
    rounds: int = 5
    compile: bool = True
    seconds: float = 3600

    @property
    def step_size(self) -> tuple[int, int]:
        """The images' size whose finest step is measured alone."""
        return STEP if STEP in self.sizes else self.sizes[0]


class FlashRow(Record):
    """One form at one size. ``differ_px``: of what is meant to be dense, from native, at most; ``active``: share of
    each level's pixels, finest first; ``bytes`` and ``flops``: of all iterations; ``arithmetic``: of the gates, over
    dense. ``error`` says why there are no figures."""

    size: tuple[int, int]
    image: str
    form: str
    dense: bool
    wall_ms: Spread | None = None
    cpu_ms: Spread | None = None
    graph_ms: float | None = None
    peak_bytes: int | None = None
    bytes: int | None = None
    flops: int | None = None
    active: tuple[float, ...] | None = None
    arithmetic: float | None = None
    differ_px: float | None = None
    error: str | None = None


class FlashResult(Record):
    """``polzoo bench flashgru``: ``table`` the recurrent part, ``step`` one finest unit alone; ``flops_per_second`` and
    ``bytes_per_second`` the machine's rates."""

    format: Literal[1] = 1
    what: Literal["flashgru"] = "flashgru"
    setting: FlashSetting
    table: tuple[FlashRow, ...]
    step: tuple[FlashRow, ...]
    flops_per_second: float
    bytes_per_second: float
    run: Run


Runs = dict[str, Callable[[], Any]]


def bench_flashgru(
    setting: FlashSetting,
    parts: Sequence[str] = ("step", "table"),
    *,
    command: str = "",
    progress: Progress = lambda line: None,
) -> FlashResult:
    """Measure the ``parts``.

    Raises:
        PolzooError: a device that is not there, more threads than CPUs, a size that three levels do not divide, an
            image that cannot be read, a backend that cannot run there.
    """
    _check(setting)
    run, end = Run.now(command, setting.device, setting.threads), time.monotonic() + setting.seconds
    step: list[FlashRow] = []
    table: list[FlashRow] = []
    with threads(setting.threads), torch.inference_mode():
        flops, moved = rates(setting.device, getattr(torch, setting.dtype))
        for image in setting.images if "step" in parts else ():
            progress(f"one step, {Path(image).name}")
            step += _measure(_step(setting, Path(image)), setting.step_size, image, setting, end)
        for size in setting.sizes if "table" in parts else ():
            image = setting.images[0]
            progress(f"recurrent part, {size[0]} × {size[1]}")
            table += _measure(_table(setting, size), size, image, setting, end)
    return FlashResult(
        setting=setting,
        table=tuple(table),
        step=tuple(step),
        flops_per_second=flops,
        bytes_per_second=moved,
        run=run,
    )


def sparse_options(setting: FlashSetting) -> dict[str, FlashGRUOptions]:
    """Every density, and a fixed number: a fifth of the smallest size's pixels."""
    pixels = min(h * w for h, w in setting.sizes) // STRIDE**2
    common: dict[str, Any] = {"backend": setting.backend, "importance": "gradient"}
    found = {f"density {d:g}": FlashGRUOptions(density=d, **common) for d in setting.densities}
    most = max(1, pixels // 5)
    return found | {f"top_k {most}": FlashGRUOptions(top_k=most, **common)}


def profiled(name: str, setting: FlashSetting) -> None:
    """One run of a form at the first size, for a profiler that waits for the start (``ncu --profile-from-start off``).

    Raises:
        PolzooError: an unknown form, or no GPU.
    """
    from polzoo.errors import unknown

    _check(setting)
    forms = {**DENSE, **sparse_options(setting)}
    if name not in forms:
        raise unknown("form", name, forms)
    if setting.device == "cpu":
        raise PolzooError("--profile starts a GPU's profiler; give --device cuda")
    run = _table(setting, setting.sizes[0], name)[name]
    with torch.inference_mode():
        for _ in range(3):
            run()
        synchronise(setting.device)
        torch.cuda.profiler.start()
        run()
        synchronise(setting.device)
        torch.cuda.profiler.stop()


def rates(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Operations a second of a large convolution in the better layout and bytes a second of a large copy, the best of
    five; a CPU's by the time of the process, as the rows are."""
    gpu, like = device.startswith("cuda"), {"device": device, "dtype": dtype}
    channels, side = (1024, 128) if gpu else (256, 64)
    weight, x = torch.randn(channels, channels, 3, 3, **like), torch.randn(1, channels, side, side, **like)
    big = torch.ones(1 << (28 if gpu else 25), device=device)
    target = torch.empty_like(big)

    def best(run: Callable[[], object]) -> float:
        run()
        samples = [clock(run, device) for _ in range(5)]
        return min(sample.wall if gpu else sample.cpu for sample in samples) / 1000

    layouts = [
        (x.to(memory_format=f), weight.to(memory_format=f)) for f in (torch.contiguous_format, torch.channels_last)
    ]
    seconds = min(best(lambda given=given: F.conv2d(*given, padding=1)) for given in layouts)
    copied = best(lambda: target.copy_(big))
    return 2 * 9 * channels**2 * side**2 / seconds, 2 * big.numel() * big.element_size() / copied


def _check(setting: FlashSetting) -> None:
    """A PolzooError for a setting that makes no sense on this machine."""
    if setting.threads > machine.cpus():
        raise PolzooError(f"{setting.threads} threads, and {machine.cpus()} CPUs that may be used")
    if setting.device.startswith("cuda") and not torch.cuda.is_available():
        raise PolzooError(f"device {setting.device!r}: this machine has no CUDA device; take cpu")
    kernels_of(setting.backend, torch.empty(0, device=setting.device, dtype=getattr(torch, setting.dtype)))
    if any(side % 16 or side < 48 for size in setting.sizes for side in size):
        raise PolzooError(f"sizes {setting.sizes}: three levels need multiples of 16 pixels, 48 or more")
    for image in setting.images:
        picture(Path(image), (48, 48))


def _table(setting: FlashSetting, size: tuple[int, int], only: str | None = None) -> Runs:
    """Every form of the recurrent part at a size, or one."""
    dtype = getattr(torch, setting.dtype)
    start = Scene.make(size, setting.channels, setting.device, dtype, Path(setting.images[0]))
    found: Runs = {}
    for name, form in DENSE.items():
        if only in (None, name) and (setting.compile or not form.compiled):
            found[name] = dense(form, start, setting.channels, setting.iterations)
    for name, options in sparse_options(setting).items():
        if only in (None, name):
            found[name] = Flash(options, start, setting.channels, setting.iterations)
    return found


class OneStep:
    """One sparse step of one unit in place by ``kernels``; its inputs stand where they are read."""

    def __init__(
        self, mask: Tensor, kernels: ModuleType, unit: ConvGRU, h: Tensor, context: tuple[Tensor, ...], x: Tensor
    ) -> None:
        self.book = Rulebook(mask, 2)
        self.packed = Packed([self.book], kernels, exact=True, reuse=True)
        self.unit, self.grid, self.context, self.wide = unit, Grid.of(h), context, Pixels(self.book, 2)
        self.rows = with_zero(self.wide.take(x).values)

    def __call__(self) -> Tensor:
        new = self.packed._unit(self.unit, 0, self.grid, self.rows, self.context, self.wide)
        return self.packed._write(self.grid, Pixels(self.book), new).map

    def in_kernels(self) -> tuple[int, int]:
        """Bytes and operations of Triton's launches, which no PyTorch operation sees."""
        return launched(self.packed.kernels, self.unit, self.book, self.grid.rows.element_size())


def _step(setting: FlashSetting, image: Path) -> Runs:
    """One step of the finest unit alone: hidden C, inputs 2C, the context added as a map; masks of an image's edges."""
    dim, kind, grid = setting.channels, getattr(torch, setting.dtype), [side // STRIDE for side in setting.step_size]
    torch.manual_seed(0)
    unit = ConvGRU(dim, 2 * dim).to(setting.device, kind).eval()
    like: dict[str, Any] = {"generator": torch.Generator(setting.device).manual_seed(0), "device": setting.device}
    h, x = torch.randn(1, dim, *grid, **like).tanh().to(kind), torch.randn(1, 2 * dim, *grid, **like).to(kind)
    context = tuple(torch.randn(1, dim, *grid, **like).to(kind) for _ in range(3))
    view = picture(image, setting.step_size).to(setting.device)
    pair = Pair(view, view, torch.ones(1), view, view)
    encoding, disparity = Encoding((h, h), (h,), (h,)), h[:, :1]
    edges = Gradient(Options())(encoding, disparity, Step(0, 0, 1, 1.0, memory=Memory(pair)))
    forms = {name: form for name, form in DENSE.items() if setting.compile or not form.compiled}
    runs: Runs = {name: _unit(form, unit, h, context, x) for name, form in forms.items()}
    for density in setting.densities:
        mask = choose(edges, budget(density, grid[0] * grid[1]))
        runs[f"density {density:g}"] = _sparse_step(setting.backend, mask, unit, h, context, x)
    return runs


def _sparse_step(
    backend: str, mask: Tensor, unit: ConvGRU, h: Tensor, context: tuple[Tensor, ...], x: Tensor
) -> Callable[[], Tensor]:
    """One step of the unit where the mask is, by a backend; ``naive`` computes everything."""
    kernels = kernels_of(backend, h)
    if kernels is None:
        return lambda: torch.where(mask, unit(h, context, x), h)
    return OneStep(mask, kernels, unit, h, context, x)


def _unit(form: Form, unit: ConvGRU, h: Tensor, context: tuple[Tensor, ...], x: Tensor) -> Callable[[], Tensor]:
    """One dense step of the unit as ``form`` has it."""
    own: Any = copy.deepcopy(unit).to(memory_format=form.layout)  # pyright: ignore[reportCallIssue]
    own.__class__ = form.unit
    h, x, *maps = (t.contiguous(memory_format=form.layout) for t in (h, x, *context))
    known = tuple(maps) if form.unit in (ConvGRU, DENSE[NATIVE].unit) else own.prepare(tuple(maps))
    run = torch.compile(own) if form.compiled else own
    return lambda: run(h, known, x)


def _measure(runs: Runs, size: tuple[int, int], image: str, setting: FlashSetting, end: float) -> list[FlashRow]:
    """A row for each form, what has to be compiled last; one that cannot run, or is not begun before ``end``, has a row
    with the reason."""
    rows: dict[str, dict[str, Any]] = {}
    ready: Runs = {}
    native: Tensor | None = None
    for name in sorted(runs, key=lambda name: name in DENSE and DENSE[name].compiled):
        run, row = runs[name], {"size": size, "image": Path(image).name, "form": name, "dense": name in DENSE}
        rows[name] = row
        if time.monotonic() > end:
            row["error"] = f"no time left of {setting.seconds:g} s"
            continue
        try:
            out = run()
            native = out.clone() if name == NATIVE else native
            if native is not None and (name in DENSE or name == "density 1"):
                row["differ_px"] = float((out - native).abs().max())
            row |= _counted(name, run, setting)
            ready[name] = run
        except Exception as error:  # a form that cannot run is a result, too
            row["error"] = one_line(error)
    samples = take_turns(list(ready.values()), setting.rounds, device=setting.device)
    for (name, run), taken in zip(ready.items(), samples, strict=True):
        rows[name] |= _times(taken)
        if setting.device.startswith("cuda"):
            rows[name]["graph_ms"] = _graphed(run, setting)
    return [FlashRow(**row) for row in rows.values()]


def _counted(name: str, run: Callable[[], Any], setting: FlashSetting) -> dict[str, Any]:
    """Bytes, operations, peak and shares of one run."""
    found: dict[str, Any] = {"peak_bytes": memory.peak(run, torch.device(setting.device))}
    if not (name in DENSE and DENSE[name].compiled):  # what is fused moves less than its operations one by one
        with Traffic() as traffic:
            run()
        in_kernels = run.in_kernels() if isinstance(run, (Flash, OneStep)) else (0, 0)
        found |= {"bytes": traffic.bytes + in_kernels[0], "flops": traffic.flops + in_kernels[1]}
    if isinstance(run, Flash):
        found["active"] = run.shares()
    if isinstance(run, OneStep):
        found |= {"active": (run.book.share(0),), "arithmetic": arithmetic(run.book)}
    return found


def _times(taken: Sequence[Sample]) -> dict[str, Spread]:
    return {"wall_ms": Spread.of([s.wall for s in taken]), "cpu_ms": Spread.of([s.cpu for s in taken])}


def _graphed(run: Callable[[], Tensor], setting: FlashSetting) -> float | None:
    """Median ms of one CUDA graph's replay; None for a form that cannot be captured."""
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        graph.replay()
        return median(clock(graph.replay, setting.device).wall for _ in range(setting.rounds))
    except Exception:
        torch.cuda.synchronize()
        return None
