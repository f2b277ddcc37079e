"""FlashGRU on a CPU: time of a step against dense forms, memory of the recurrent part, and what a density costs in EPE.

    python benchmarks/flashgru.py gru recurrent accuracy --out benchmarks/results/flashgru_cpu.json

Runs take turns and are compared by the time that this process had on the CPUs, so a busy machine meets all of them
alike; the load is noted. Masks are the top-k of Sobel's magnitude of a real image at the feature grid's size.
"""

from __future__ import annotations

import datetime
import itertools
import json
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polzoo
from polzoo.evaluation.benchmark_timing import take_turns, threads
from polzoo.evaluation.machine import load, processor
from polzoo.interfaces import Host
from polzoo.memory import peak
from polzoo.updates.cells import ConvGRU, SelectiveCell
from polzoo.updates.flashgru import naive, sparse
from polzoo.updates.flashgru.flash import BREAK_EVEN, arithmetic
from polzoo.updates.flashgru.naive import Masked
from polzoo.updates.flashgru.packed import Packed
from polzoo.updates.flashgru.rows import Grid, Pixels
from polzoo.updates.flashgru.rulebook import Rulebook, budget, choose

IMAGES = {"motorcycle": "mid2014Q_Motorcycle/im0.png", "teddy": "mid2003_teddy/im2.png"}
H, W, HIDDEN, INPUTS = 160, 368, 128, 256
DENSITIES = 0.05, 0.1, 0.2, 0.3, 0.5, 1.0


def edges(path: Path, h: int, w: int) -> Tensor:
    """(1, 1, h, w): Sobel's magnitude of an image at this size."""
    image: Any = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    grey = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    return torch.from_numpy(np.hypot(dx, dy))[None, None]


class Joined(nn.Module):
    """The dense unit with z and r in one convolution; ``split`` convolves state and inputs apart, all gates of the
    inputs at once."""

    def __init__(self, unit: ConvGRU, split: bool = False) -> None:
        super().__init__()
        self.split = split
        self.zr = nn.Parameter(torch.cat([unit.convz.weight, unit.convr.weight]).detach())
        self.q = nn.Parameter(unit.convq.weight.detach())
        self.from_x = nn.Parameter(torch.cat([self.zr, self.q]).detach()[:, HIDDEN:].contiguous())
        self.from_h = nn.Parameter(self.zr.detach()[:, :HIDDEN].contiguous())
        self.from_rh = nn.Parameter(self.q.detach()[:, :HIDDEN].contiguous())

    def forward(self, h: Tensor, context: tuple[Tensor, ...], x: Tensor) -> Tensor:
        z, r, q = context
        if self.split:
            in_zr, in_q = F.conv2d(x, self.from_x, padding=1).split([2 * HIDDEN, HIDDEN], 1)
            gates = F.conv2d(h, self.from_h, padding=1) + in_zr
        else:
            in_zr, in_q, gates = None, None, F.conv2d(torch.cat([h, x], 1), self.zr, padding=1)
        z, r = (torch.sigmoid(part + known) for part, known in zip(gates.chunk(2, 1), (z, r), strict=True))
        if in_q is None:
            new = F.conv2d(torch.cat([r * h, x], 1), self.q, padding=1)
        else:
            new = F.conv2d(r * h, self.from_rh, padding=1) + in_q
        return torch.lerp(h, torch.tanh(new + q), z)


def one_step(mask: Tensor, unit: ConvGRU, h: Tensor, context: tuple[Tensor, ...], x: Tensor):
    """(rulebook, function that does one sparse step of one unit in place), inputs where they are read."""
    book = Rulebook(mask, 2)
    packed = Packed([book], sparse, exact=True, reuse=True)
    grid, wide = Grid.of(h), Pixels(book, 2)
    rows = sparse.with_zero(wide.take(x).values)
    return book, lambda: packed._write(grid, Pixels(book), packed._unit(unit, 0, grid, context, rows, wide))


def gru(data: Path, rounds: int, compiled: bool) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    unit = ConvGRU(HIDDEN, INPUTS).eval()
    h, x = torch.randn(1, HIDDEN, H, W).tanh(), torch.randn(1, INPUTS, H, W)
    context = tuple(torch.randn(1, HIDDEN, H, W) for _ in range(3))
    last = [t.contiguous(memory_format=torch.channels_last) for t in (h, x, *context)]
    joined, split = Joined(unit), Joined(unit, split=True)
    lasting = Joined(unit).to(memory_format=torch.channels_last)
    split_last = Joined(unit, split=True).to(memory_format=torch.channels_last)
    dense = {
        "eager native": lambda: unit(h, context, x),
        "split": lambda: split(h, context, x),
        "joined": lambda: joined(h, context, x),
        "joined, channels-last": lambda: lasting(last[0], tuple(last[2:]), last[1]),
        "split, channels-last": lambda: split_last(last[0], tuple(last[2:]), last[1]),
    }
    if compiled:
        quick = torch.compile(lasting)
        dense["compiled"] = lambda: quick(last[0], tuple(last[2:]), last[1])
    found = []
    for name, file in IMAGES.items():
        seen = edges(data / file, H, W)
        steps = {d: one_step(choose(seen, budget(d, H * W)), unit, h, context, x) for d in DENSITIES}
        runs = [*dense.values(), *(run for _, run in steps.values())]
        median = [float(np.median([sample.cpu for sample in one])) for one in take_turns(runs, rounds)]
        forms = dict(zip(dense, median, strict=False))
        eager, best = forms["eager native"], min(forms.values())
        rows = [
            {
                "density": d,
                "ring": book.share(1),
                "arithmetic": arithmetic(book),
                "ms": ms,
                "against eager": eager / ms,
                "against best dense": best / ms,
                "auto": "dense" if arithmetic(book) > BREAK_EVEN or d == 1 else "sparse",
            }
            for (d, (book, _)), ms in zip(steps.items(), median[len(dense) :], strict=True)
        ]
        found.append({"image": name, "dense ms": forms, "sparse": rows})
    return found


def recurrent(data: Path, rounds: int, density: float = 0.2) -> dict[str, Any]:
    """Motion encoder, three selective levels and the head, hidden 128, with Selective-IGEV's lookup."""
    torch.manual_seed(0)
    host = Host(4, 96, (128, 128, 128), (129, 129, 129), ())
    cell = SelectiveCell(host, 162).eval()
    sizes = [(H // 2**level, W // 2**level) for level in range(3)]
    hidden = tuple(torch.randn(1, 128, *size).tanh() for size in sizes)
    cost, disparity = torch.randn(1, 162, H, W), 10 * torch.rand(1, 1, H, W)
    with torch.inference_mode():
        context = cell.prepare(tuple(torch.randn(1, 129, *size) for size in sizes))
    seen = edges(data / IMAGES["motorcycle"], H, W)
    masks = [choose(F.adaptive_max_pool2d(seen, s), budget(density, s[0] * s[1])) for s in sizes]
    books = [Rulebook(mask, 2 if level else 7) for level, mask in enumerate(masks)]
    packed = Packed(books, sparse, exact=True, reuse=True)
    rows = Pixels(books[0], cell.lookup_reach).take(cost)

    def run_dense() -> object:
        return naive.step(cell, hidden, context, cost, disparity, Masked(None))

    def run_sparse() -> object:
        return packed.step(cell, packed.maps or hidden, context, rows, disparity)

    dense, quick = (float(np.median([s.cpu for s in one])) for one in take_turns([run_dense, run_sparse], rounds))
    packed = Packed(books, sparse, exact=True, reuse=True)  # what the first step of a call makes is in the peak
    most = [peak(run) / 1e6 for run in (run_dense, run_sparse)]
    return {
        "density": density,
        "dense ms": dense,
        "sparse ms": quick,
        "faster": dense / quick,
        "dense peak MB": most[0],
        "sparse peak MB": most[1],
        "less memory": 1 - most[1] / most[0],
    }


def accuracy(scenes: int, densities: tuple[float, ...]) -> list[dict[str, Any]]:
    """EPE of polstereo-nano on rendered scenes, by importance and density."""
    from polzoo.data.options import SyntheticOptions
    from polzoo.data.synthetic import Synthetic

    data = Synthetic(SyntheticOptions(seed=8001, length=scenes))
    samples = [data[i] for i in range(scenes)]

    def epe(update: str | None) -> float:
        model, errors = polzoo.load("polstereo-nano", update=update), []
        for sample in samples:
            left, right = (torch.from_numpy(view)[None].float() for view in (sample.left, sample.right))
            truth = torch.from_numpy(sample.disparity)[None]
            with torch.inference_mode():
                found = model(left, right, polarity=sample.polarity).disparity
            errors.append((found - truth).abs()[torch.from_numpy(sample.valid)[None]].mean().item())
        return float(np.mean(errors))

    dense = epe(None)
    found: list[dict[str, Any]] = [{"importance": "dense", "density": 1.0, "epe": dense, "cost": 0.0}]
    for source in ("gradient", "motion", "gate"):
        for first, density in itertools.product((0, 4), densities):
            value = epe(f'flashgru(density={density},importance="{source}",dense_steps={first})')
            row = {"importance": source, "dense_steps": first, "density": density}
            found.append({**row, "epe": value, "cost": value / dense - 1})
            click.echo(json.dumps(found[-1]))
    return found


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(["gru", "recurrent", "accuracy"]))
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", "count", default=1, show_default=True)
@click.option("--scenes", default=20, show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON; parts that are not measured now are kept.")
def main(
    parts: tuple[str, ...], data: Path, rounds: int, count: int, scenes: int, compiled: bool, out: Path | None
) -> None:
    """Measure PARTS."""
    result = json.loads(out.read_text()) if out and out.exists() else {}
    for part in parts:
        with threads(count):
            if part == "gru":
                found: Any = gru(data, rounds, compiled)
            elif part == "recurrent":
                found = recurrent(data, rounds)
            else:
                found = accuracy(scenes, (0.1, 0.3, 0.5))
        made = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": processor(),
            "load": load(),
            "threads": count,
            "rounds": rounds,
            "torch": torch.__version__,
            "polzoo": polzoo.__version__,
        }
        result[part] = {**made, "found": found}
        click.echo(json.dumps(found, indent=1))
        if out is not None:
            out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
