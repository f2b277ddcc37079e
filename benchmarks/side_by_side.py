"""A backbone of polzoo and a plain eager form with the same weights, in turn: ratios of time and of peak memory."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from polzoo.data.files import write_bytes
from polzoo.evaluation.benchmark import check
from polzoo.evaluation.benchmark_memory import fresh
from polzoo.evaluation.benchmark_report import align, mb, ms, spread
from polzoo.evaluation.benchmark_result import Run, Setting, Spread
from polzoo.evaluation.benchmark_timing import take_turns
from polzoo.memory import peak

Forward = Callable[[int], object]


class Forms(NamedTuple):
    """What runs so many iterations: polzoo's inference copy, and the plain form."""

    ours: Forward
    plain: Forward


Load = Callable[[Setting], Forms]
"""Importable by name, so that memory can be measured in a process of its own."""


def compare(load: Load, counts: Sequence[int], setting: Setting) -> list[dict[str, Any]]:
    """Per number of iterations: ratios ours / plain of wall and CPU time per round, and of the peak of live tensors."""
    check(setting)
    torch.set_num_threads(setting.threads)
    forms, rows = load(setting), []
    runs = [lambda form=form, n=n: form(n) for n in counts for form in forms]
    samples = take_turns(runs, setting.rounds, warmup=setting.warmup, device=setting.device)
    for place, n in enumerate(counts):
        ours, plain = samples[2 * place], samples[2 * place + 1]
        row: dict[str, Any] = {"iterations": n}
        for what in ("wall", "cpu"):
            one, other = (Spread.of([getattr(sample, what) for sample in taken]) for taken in (ours, plain))
            row[f"{what}_ms"], row[f"plain_{what}_ms"] = one.median, other.median
            row[what] = Spread.ratio(one, other).model_dump()
        row["peak_bytes"], row["plain_peak_bytes"] = (fresh(peak_of, load, i, n, setting) for i in (0, 1))
        row["peak"] = row["peak_bytes"] / row["plain_peak_bytes"]
        rows.append(row)
    return rows


def peak_of(load: Load, form: int, iterations: int, setting: Setting) -> int:
    """Peak of live tensors of one form in bytes, besides its weights and the pair."""
    torch.set_num_threads(setting.threads)
    run = load(setting)[form]
    return peak(lambda: run(iterations))


def arguments(text: str | None) -> argparse.ArgumentParser:
    """What every such script takes."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the plain form's cost with the official code's")
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 12, 32], metavar="N")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 736), metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def report(load: Load, given: argparse.Namespace) -> None:
    """Compare, print a table and write the JSON."""
    setting = Setting(height=given.size[0], width=given.size[1], threads=given.threads, rounds=given.rounds)
    run = Run.now(shlex.join(["python", *sys.argv]), setting.device, setting.threads)
    rows = compare(load, given.iterations, setting)
    shown = [["iterations", "CPU", "plain", "ratio", "wall", "plain", "ratio", "peak", "plain", "ratio"]]
    for row in rows:
        cells = [str(row["iterations"])]
        for what in ("cpu", "wall"):
            cells += [ms(row[f"{what}_ms"]), ms(row[f"plain_{what}_ms"]), spread(Spread(**row[what]))]
        shown.append([*cells, mb(row["peak_bytes"]), mb(row["plain_peak_bytes"]), f"{row['peak']:.2f}×"])
    print("\n".join([*align(shown), f"{run.machine}; load {run.load}" + ", busy" * run.busy]))
    if given.out is not None:
        found = {"rows": rows, "setting": setting.model_dump(), "run": run.model_dump()}
        write_bytes(given.out, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
