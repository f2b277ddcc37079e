"""Pip-Stereo's Table 4: the recurrent part of four iterations, dense and sparse, on a GPU.

    python benchmarks/flashgru_gpu.py --out FILE                    on a GPU, under 7 minutes
    python benchmarks/flashgru_gpu.py --device cpu --sizes 64x96 --channels 16 --rounds 2      the same code, small

Selective-IGEV's cell with seeded weights: motion encoder, units of three levels, head; the costs are looked up before.
Dense forms: ``native`` convolves state, input and context as one in every iteration, as published code does; ``zoo`` is
what polzoo ships; then input and state apart, z and r in one, channels-last, compiled. Masks are the edges of the
bundled pair. Times are from CUDA events, of launches one by one and of one captured graph; bytes are counted from the
algorithm (``flashgru_bytes.py``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from flashgru_bytes import Gru, Traffic, moved
from torch import Tensor
from torch.nn import functional as F

from polzoo import memory
from polzoo.errors import one_line
from polzoo.evaluation.machine import hardware
from polzoo.interfaces import Encoding, Host, Memory, Pair, Step
from polzoo.options import Options
from polzoo.updates.cells import ConvGRU, SelectiveCell
from polzoo.updates.dense import Dense
from polzoo.updates.flashgru.flash import FlashGRU
from polzoo.updates.importance import Gradient
from polzoo.updates.options import FlashGRUOptions
from polzoo.updates.sites import EVERYTHING

LEFT = Path(__file__).resolve().parents[1] / "polzoo" / "assets" / "demo" / "left.png"
SIZES = ("320x736", "640x1472", "1280x2944")
DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
ITERATIONS, LEVELS, LOOKUP = 4, 3, 162
"""Costs per pixel: Selective-IGEV's 2 levels × 9 offsets × 9 groups."""

PAPER = {  # Table 4, RTX 4090: ms and MiB of native units and of FlashGRU, fewer memory requests
    "320x736": {"native_ms": 28.8, "flash_ms": 14.8, "native_mib": 743, "flash_mib": 561, "requests": -0.581},
    "640x1472": {"native_ms": 45.2, "flash_ms": 15.2, "native_mib": 1431, "flash_mib": 715, "requests": -0.764},
    "1280x2944": {"native_ms": 122.4, "flash_ms": 16.8, "native_mib": 4105, "flash_mib": 957, "requests": -0.809},
}


class Native(ConvGRU):
    """Every gate convolves state, input and context as one, in every iteration."""

    def prepare(self, context: Tensor) -> Any:
        return context

    def forward(self, h: Tensor, context: Any, x: Tensor, reset: Tensor | None = None) -> Tensor:
        x = torch.cat([x, context], 1)
        hx = torch.cat([h, x], 1)
        z, r = torch.sigmoid(self.convz(hx)), torch.sigmoid(self.convr(hx))
        q = torch.tanh(self.convq(torch.cat([r * h, x], 1)))
        return (1 - z) * h + z * q


class Prepared(ConvGRU):
    """The context's part and the weights of state and input, once for all iterations."""

    def prepare(self, context: Tensor) -> Any:
        z, r, q = super().prepare(context)
        from_z, from_r, from_q = (conv.weight[:, : self.read] for conv in (self.convz, self.convr, self.convq))
        return self.arrange(torch.cat([z, r], 1), q, torch.cat([from_z, from_r]), from_q)

    def arrange(self, zr: Tensor, q: Tensor, from_zr: Tensor, from_q: Tensor) -> Any:
        return zr, q, from_zr, from_q

    def conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=self.convz.padding)  # pyright: ignore[reportArgumentType]


class Joined(Prepared):
    """z and r in one convolution."""

    def forward(self, h: Tensor, context: Any, x: Tensor, reset: Tensor | None = None) -> Tensor:
        zr, q, from_zr, from_q = context
        z, r = torch.sigmoid(self.conv(torch.cat([h, x], 1), from_zr) + zr).chunk(2, 1)
        return torch.lerp(h, torch.tanh(self.conv(torch.cat([r * h, x], 1), from_q) + q), z)


class Split(Prepared):
    """State and input apart, so that nothing is copied: all gates of the input in one convolution, z and r of the
    state in another, q in a third."""

    def arrange(self, zr: Tensor, q: Tensor, from_zr: Tensor, from_q: Tensor) -> Any:
        dim, of_x = len(from_q), torch.cat([from_zr, from_q])[:, len(from_q) :]
        return torch.cat([zr, q], 1), of_x, from_zr[:, :dim], from_q[:, :dim]

    def forward(self, h: Tensor, context: Any, x: Tensor, reset: Tensor | None = None) -> Tensor:
        known, of_x, of_h, of_rh = context
        zr, q = (self.conv(x, of_x) + known).split([2 * h.shape[1], h.shape[1]], 1)
        z, r = torch.sigmoid(zr + self.conv(h, of_h)).chunk(2, 1)
        return torch.lerp(h, torch.tanh(q + self.conv(r * h, of_rh)), z)


class Form(NamedTuple):
    """A dense form: the class of its units, the memory format, whether it is compiled."""

    unit: type[ConvGRU]
    layout: torch.memory_format = torch.contiguous_format
    compiled: bool = False


DENSE = {
    "native": Form(Native),
    "zoo": Form(ConvGRU),
    "split": Form(Split),
    "joined": Form(Joined),
    "zoo, channels-last": Form(ConvGRU, torch.channels_last),
    "split, channels-last": Form(Split, torch.channels_last),
    "joined, channels-last": Form(Joined, torch.channels_last),
    "split, channels-last, compiled": Form(Split, torch.channels_last, True),
    "joined, channels-last, compiled": Form(Joined, torch.channels_last, True),
}


class Scene(NamedTuple):
    """What the recurrent part starts from; the pair gives the edges."""

    hidden: tuple[Tensor, ...]
    context: tuple[Tensor, ...]
    cost: Tensor
    disparity: Tensor
    pair: Pair

    def put(self, layout: torch.memory_format) -> Scene:
        def each(xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(x.contiguous(memory_format=layout) for x in xs)

        cost = self.cost.contiguous(memory_format=layout)
        return self._replace(hidden=each(self.hidden), context=each(self.context), cost=cost)


def scene(size: str, channels: int, device: str, dtype: torch.dtype) -> Scene:
    """Random values of the three levels' sizes, and the bundled pair's left image at this size."""
    height, width = map(int, size.split("x"))
    sizes = [(height // 2 ** (2 + level), width // 2 ** (2 + level)) for level in range(LEVELS)]
    random = torch.Generator(device).manual_seed(0)
    like: dict[str, Any] = {"generator": random, "device": device, "dtype": dtype}
    hidden = tuple(torch.randn(1, channels, *s, **like).tanh() for s in sizes)
    context = tuple(torch.randn(1, channels + 1, *s, **like) for s in sizes)
    cost = torch.randn(1, LOOKUP, *sizes[0], **like)
    disparity = 48 * torch.rand(1, 1, *sizes[0], generator=random, device=device)
    picture = cv2.resize(cv2.imread(str(LEFT)), (width, height), interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0).to(device) / 255
    pair = Pair(image, image, torch.ones(1, device=device), image, image)
    return Scene(hidden, context, cost, disparity.to(dtype), pair)


def cell_of(unit: type[ConvGRU], channels: int, device: str, dtype: torch.dtype) -> SelectiveCell:
    """The seeded cell, its units executed as ``unit`` does; every form has the same weights."""
    torch.manual_seed(0)
    cell = SelectiveCell(Host(4, 96, (channels,) * LEVELS, (channels + 1,) * LEVELS, ()), LOOKUP, width=channels // 2)
    for level in range(LEVELS):
        for part in (cell.unit(level).small, cell.unit(level).large):
            part.__class__ = unit
    return cell.to(device, dtype).eval()


def dense(form: Form, start: Scene, channels: int) -> Callable[[], Tensor]:
    cell = cell_of(form.unit, channels, start.cost.device.type, start.cost.dtype).to(memory_format=form.layout)
    if form.compiled:
        torch.compiler.reset()  # else the sizes and forms before count towards its limit
        for level in range(LEVELS):
            cell.unit(level).compile()
    operator, s = Dense(Options()), start.put(form.layout)

    def run() -> Tensor:
        context, hidden, disparity = cell.prepare(s.context), s.hidden, s.disparity
        for _ in range(ITERATIONS):
            hidden, delta = operator(cell, hidden, context, s.cost, disparity, EVERYTHING)
            disparity = disparity + delta
        return disparity

    return run


class Flash:
    """FlashGRU on the same cell."""

    def __init__(self, options: FlashGRUOptions, start: Scene, channels: int) -> None:
        self.cell = cell_of(ConvGRU, channels, start.cost.device.type, start.cost.dtype)
        self.operator, self.start = FlashGRU(options, Gradient(Options())), start
        self.sites: Any = None

    def __call__(self) -> Tensor:
        self.sites = None  # what the run before left is no part of this one's peak
        s, memory_ = self.start, Memory(self.start.pair, traced=False)
        encoding = Encoding((s.cost, s.cost), s.hidden, s.context)
        context, hidden, disparity = self.cell.prepare(s.context), s.hidden, s.disparity
        for index in range(ITERATIONS):
            step = Step(0, index, ITERATIONS, 1.0, memory=memory_)
            self.sites = self.operator.sites(self.cell, encoding, disparity, step)
            hidden, delta = self.operator(self.cell, hidden, context, s.cost, disparity, self.sites)
            disparity = disparity + delta
        return disparity

    def bytes_in_kernels(self) -> int:
        """What Triton's launches for the units move, which no PyTorch operation sees."""
        total = 0
        for level, book in enumerate(self.sites.packed.books):
            large, active = self.cell.unit(level).large, book.size(0)
            gru = Gru(large.convz.out_channels, large.read - large.convz.out_channels, self.start.cost.element_size())
            total += moved(gru, active, book.size(1), book.size(2)) + moved(gru._replace(taps=1), *[active] * 3)
        return ITERATIONS * total


def measure(run: Callable[[], Tensor], device: str, rounds: int) -> dict[str, Any]:
    """Median ms of launches one by one and of a captured graph, peak MiB, bytes that PyTorch's operations move."""
    with torch.inference_mode():
        for _ in range(3):  # compiles, tunes, and fills the allocator
            run()
        found: dict[str, Any] = {"ms": statistics.median(timed(run, device) for _ in range(rounds))}
        if device != "cpu":
            found |= graphed(run, device, rounds)
        with Traffic() as traffic:
            run()
    return found | {"bytes": traffic.bytes, "peak_mib": memory.peak(run, torch.device(device)) / 2**20}


def timed(run: Callable[[], object], device: str) -> float:
    """One run in ms, by CUDA events on a GPU."""
    if device == "cpu":
        begin = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - begin)
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last)


def graphed(run: Callable[[], Tensor], device: str, rounds: int) -> dict[str, Any]:
    """The same from one CUDA graph, or why there is none."""
    try:
        expected, graph = run(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run()
        graph.replay()
        torch.cuda.synchronize()
        times = [timed(graph.replay, device) for _ in range(rounds)]
        return {"graph_ms": statistics.median(times), "graph_error": float((out - expected).abs().max())}
    except Exception as error:  # a form that cannot be captured is a result, too
        torch.cuda.synchronize()
        return {"graph_ms": None, "graph_refused": one_line(error)}


def sparse_options(given: argparse.Namespace) -> dict[str, FlashGRUOptions]:
    """Every density, and a fixed number: a fifth of the smallest size's pixels."""
    smallest = min(int(h) * int(w) // 16 for h, w in (size.split("x") for size in given.sizes))
    common: dict[str, Any] = {"backend": given.backend, "importance": "gradient"}
    found = {f"density {d:g}": FlashGRUOptions(density=d, **common) for d in given.densities}
    return found | {f"top_k {smallest // 5}": FlashGRUOptions(top_k=max(1, smallest // 5), **common)}


def make(name: str, start: Scene, given: argparse.Namespace) -> Callable[[], Tensor]:
    """A form by its name, as something to run."""
    if name in DENSE:
        return dense(DENSE[name], start, given.channels)
    return Flash(sparse_options(given)[name], start, given.channels)


def compiled(name: str) -> bool:
    return name in DENSE and DENSE[name].compiled


def table(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each size and form, what has to be compiled last; a form that fails or finds no time left says so."""
    end, rows = time.monotonic() + given.seconds, []
    names = sorted([*DENSE, *sparse_options(given)], key=compiled)
    if given.device == "cpu":
        names = [name for name in names if not compiled(name)]
    for size in given.sizes:
        start = scene(size, given.channels, given.device, getattr(torch, given.dtype))
        reference: dict[str, Tensor] = {}
        for name in names:
            row: dict[str, Any] = {"size": size, "form": name}
            try:
                if time.monotonic() > end:
                    row["skipped"] = f"no time left of {given.seconds} s"
                else:
                    row |= one(make(name, start, given), reference, given)
                if compiled(name):
                    row.pop("bytes", None)  # what is fused moves less than its operations one by one
            except Exception as error:
                row["failed"] = one_line(error)
            print(row, flush=True)
            rows.append(row)
            torch.cuda.empty_cache()
    return rows


def one(run: Any, reference: dict[str, Tensor], given: argparse.Namespace) -> dict[str, Any]:
    """A form's row; of a dense form, or a density of 1, also how far it is from the native one."""
    with torch.inference_mode():
        out = run()
    sparse = isinstance(run, Flash)
    whole = not sparse or run.operator.options.densities(1) == (1.0,)
    wanted = reference.setdefault("native", out)
    row: dict[str, Any] = {"px_from_native": float((out - wanted).abs().max())} if whole else {}
    if sparse:
        row["active_share"] = [book.size(0) / book.pixels for book in run.sites.packed.books]
        row["bytes"] = run.bytes_in_kernels() if given.backend == "triton" else 0
    found = measure(run, given.device, given.rounds)
    return row | found | {"bytes": found["bytes"] + row.get("bytes", 0)}


def profile(name: str, given: argparse.Namespace) -> None:
    """One run of a form for a profiler that waits for the start (``ncu --profile-from-start off``)."""
    run = make(name, scene(given.sizes[0], given.channels, given.device, getattr(torch, given.dtype)), given)
    with torch.inference_mode():
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        run()
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each sparse row over the native form and over the fastest dense one at its size."""
    found = []
    for size in dict.fromkeys(row["size"] for row in rows):
        here = {row["form"]: row for row in rows if row["size"] == size and "ms" in row}
        dense_forms = [name for name in DENSE if name in here]
        if "native" not in here:
            continue
        fastest = min(dense_forms, key=lambda name: best(here[name]))
        for name, row in here.items():
            if name in DENSE:
                continue
            native = here["native"]
            found.append(
                {
                    "size": size,
                    "form": name,
                    "over_native": native["ms"] / best(row),
                    "over_best_dense": best(here[fastest]) / best(row),
                    "best_dense": fastest,
                    "peak": row["peak_mib"] / native["peak_mib"] - 1,
                    "bytes": row["bytes"] / native["bytes"] - 1,
                }
            )
    return found


def best(row: dict[str, Any]) -> float:
    """The faster of eager launches and a captured graph."""
    return min(row["ms"], row.get("graph_ms") or row["ms"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="HxW")
    parser.add_argument("--densities", nargs="+", type=float, default=list(DENSITIES))
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=400, help="start no further form after so long")
    parser.add_argument("--backend", choices=("triton", "sparse"))
    parser.add_argument("--profile", metavar="FORM", help="run this form once for a profiler, and nothing else")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    on_gpu = given.device != "cpu"
    given.dtype = given.dtype or ("float16" if on_gpu else "float32")
    given.backend = given.backend or ("triton" if on_gpu else "sparse")
    if given.profile:
        return profile(given.profile, given)
    rows = table(given)
    result = {
        "what": "Pip-Stereo's Table 4" if on_gpu else "not measured on a GPU: the code of Table 4 on a CPU",
        "device": hardware(given.device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "setting": {k: v for k, v in vars(given).items() if k not in ("out", "profile")} | {"iterations": ITERATIONS},
        "paper": PAPER,
        "rows": rows,
        "ratios": summary(rows),
    }
    for ratio in result["ratios"]:
        print(ratio)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n")


def versions() -> dict[str, str | None]:
    import triton

    return {"torch": torch.__version__, "cuda": torch.version.cuda, "triton": triton.__version__}


if __name__ == "__main__":
    main()
