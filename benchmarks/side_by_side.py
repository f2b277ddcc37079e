"""Backbones of polzoo and plain eager forms with the same weights, in turn: ratios of time and of peak memory.

python benchmarks/side_by_side.py --out benchmarks/results/speed_cpu.json     # raft and igev, with parts
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polzoo.data.files import write_bytes
from polzoo.evaluation.benchmark import check
from polzoo.evaluation.benchmark_memory import fresh
from polzoo.evaluation.benchmark_report import align, mb, ms, spread
from polzoo.evaluation.benchmark_result import Run, Setting, Spread
from polzoo.evaluation.benchmark_timing import take_turns
from polzoo.memory import peak

Forward = Callable[[int], Tensor]


class Forms(NamedTuple):
    """What runs so many iterations: polzoo's inference copy, and the plain form; and the modules of both by part."""

    ours: Forward
    plain: Forward
    parts: Mapping[str, tuple[Sequence[nn.Module], Sequence[nn.Module]]]


class Official(NamedTuple):
    """What the official code costs at 320 × 736 on one thread: CPU-seconds by iterations, and its peak of live tensors
    in units of 2^20 bytes (spec "backbones" §4)."""

    seconds: dict[int, float]
    peak: int


Load = Callable[[Setting], Forms]
"""Importable by name, so that memory can be measured in a process of its own."""


def compare(load: Load, counts: Sequence[int], setting: Setting) -> list[dict[str, Any]]:
    """Per number of iterations: ratios ours / plain of wall and CPU time per round, and of the peak of live tensors."""
    check(setting)
    torch.set_num_threads(setting.threads)
    forms, rows = load(setting), []
    runs = [lambda form=form, n=n: form(n) for n in counts for form in forms[:2]]
    take_turns([lambda form=form: form(1) for form in forms[:2]], 1)
    samples = take_turns(runs, setting.rounds, warmup=0, device=setting.device)
    for place, n in enumerate(counts):
        ours, plain = samples[2 * place], samples[2 * place + 1]
        row: dict[str, Any] = {"iterations": n}
        for what in ("wall", "cpu"):
            one, other = (Spread.of([getattr(sample, what) for sample in taken]) for taken in (ours, plain))
            row[f"{what}_ms"], row[f"plain_{what}_ms"] = one.median, other.median
            row[what] = Spread.ratio(one, other).model_dump()
        row["peak_bytes"], row["plain_peak_bytes"] = (fresh(peak_of, load, i, n, setting) for i in (0, 1))
        row["peak"] = row["peak_bytes"] / row["plain_peak_bytes"]
        row["parts_cpu_ms"] = _parts(forms, n)
        rows.append(row)
    return rows


def _parts(forms: Forms, iterations: int) -> dict[str, tuple[float, float]]:
    """CPU ms of every part in both forms, once; ``rest`` is in none."""
    found = []
    for which, run in enumerate((forms.ours, forms.plain)):
        parts = {name: both[which] for name, both in forms.parts.items()}
        with torch.inference_mode(), _watched(parts) as spent:
            begin = time.process_time()
            run(iterations)
            spent["rest"] = time.process_time() - begin - sum(spent.values())
        found.append(spent)
    ours, plain = found
    return {name: (1000 * ours[name], 1000 * plain[name]) for name in (*forms.parts, "rest")}


@contextmanager
def _watched(parts: Mapping[str, Sequence[nn.Module]]) -> Iterator[dict[str, float]]:
    """Counts CPU-seconds spent in the modules of each part, none of which runs inside another one."""
    spent: defaultdict[str, float] = defaultdict(float)

    def clock(name: str, sign: int) -> Callable[..., None]:
        def add(*_: object) -> None:
            spent[name] += sign * time.process_time()

        return add

    hooks = []
    for name, modules in parts.items():
        for module in modules:
            hooks += [module.register_forward_pre_hook(clock(name, -1)), module.register_forward_hook(clock(name, 1))]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def peak_of(load: Load, form: int, iterations: int, setting: Setting) -> int:
    """Peak of live tensors of one form in bytes, besides its weights and the pair."""
    torch.set_num_threads(setting.threads)
    run = load(setting)[:2][form]
    return peak(lambda: run(iterations))


def difference(load: Load, iterations: int = 8, height: int = 64, width: int = 224) -> float:
    """Largest difference between the two forms' outputs in pixels."""
    with torch.inference_mode():
        ours, plain = (form(iterations) for form in load(Setting(height=height, width=width))[:2])
    return (ours - plain).abs().max().item()


def agrees(load: Load, official: Official, setting: Setting) -> bool:
    """Whether the plain form's outputs, CPU-seconds and peak are those of the official code; prints them."""
    torch.set_num_threads(setting.threads)
    apart, run = difference(load), load(setting).plain
    print(f"largest difference to polzoo's inference copy: {apart:.1e} px (at most 1e-3)")
    samples = take_turns([lambda n=n: run(n) for n in official.seconds], setting.rounds, warmup=1)
    taken = [median(sample.cpu / 1000 for sample in of_one) for of_one in samples]
    first, fine = next(iter(official.seconds.values())), apart <= 1e-3
    for (iterations, wanted), seconds in zip(official.seconds.items(), taken, strict=True):
        times = f"{seconds / taken[0]:.2f}× one; official {wanted / first:.2f}×"
        print(f"{iterations:3} iterations {seconds:6.2f} CPU-seconds, {times}")
    shares = [seconds / wanted for seconds, wanted in zip(taken, official.seconds.values(), strict=True)]
    apart = max(shares) / min(shares) - 1  # every pair of counts, not the first against the others alone
    print(f"ratios between iteration counts differ by at most {apart:.0%}")
    fine &= apart <= 0.10
    mib = fresh(peak_of, load, Forms._fields.index("plain"), 4, setting) / 2**20
    fine &= abs(mib / official.peak - 1) <= 0.05
    print(f"peak of live tensors {mib:.0f} MB (2^20 bytes); official {official.peak}")
    print("agrees" if fine else "does NOT agree: ratios may differ by 10 %, the peak by 5 %")
    return fine


def main(text: str | None, load: Load, official: Official) -> int:
    """What such a script does: check the plain form, or put polzoo's beside it."""
    parser = _arguments(text)
    parser.add_argument("--check", action="store_true", help="compare the plain form's cost with the official code's")
    given = parser.parse_args()
    if given.check:
        height, width = given.size
        return not agrees(load, official, Setting(height=height, width=width, threads=1, rounds=given.rounds))
    _report({Path(sys.argv[0]).stem: load}, given)
    return 0


def _arguments(text: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 12, 32], metavar="N")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 736), metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def _report(loads: Mapping[str, Load], given: argparse.Namespace) -> None:
    """Compare, print tables and write the JSON."""
    setting = Setting(height=given.size[0], width=given.size[1], threads=given.threads, rounds=given.rounds)
    run = Run.now(shlex.join(["python", *sys.argv]), setting.device, setting.threads)
    found = {name: compare(load, given.iterations, setting) for name, load in loads.items()}
    for name, rows in found.items():
        shown = [[name, "CPU", "plain", "ratio", "wall", "plain", "ratio", "peak", "plain", "ratio"]]
        for row in rows:
            cells = [str(row["iterations"])]
            for what in ("cpu", "wall"):
                cells += [ms(row[f"{what}_ms"]), ms(row[f"plain_{what}_ms"]), spread(Spread(**row[what]))]
            shown.append([*cells, mb(row["peak_bytes"]), mb(row["plain_peak_bytes"]), f"{row['peak']:.2f}×"])
        table = [["CPU by part", *(f"{side} {row['iterations']}" for row in rows for side in ("ours", "plain"))]]
        for part in rows[0]["parts_cpu_ms"]:
            table.append([part, *(ms(value) for row in rows for value in row["parts_cpu_ms"][part])])
        print("\n".join([*align(shown), "", *align(table), ""]))
    print(f"{run.machine}; load {run.load}" + ", busy" * run.busy)
    if given.out is not None:
        result = {"models": found, "setting": setting.model_dump(), "run": run.model_dump()}
        write_bytes(given.out, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    plain = {name: importlib.import_module(f"plain_{name}").load for name in ("raft", "igev")}
    _report(plain, _arguments(__doc__).parse_args())
