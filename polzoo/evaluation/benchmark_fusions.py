"""What every fusion costs on one backbone, each in turn with a run of ``none``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from polzoo.errors import PolzooError, one_line
from polzoo.evaluation.benchmark import check
from polzoo.evaluation.benchmark_memory import footprint, fresh
from polzoo.evaluation.benchmark_model import Ready
from polzoo.evaluation.benchmark_report import about_run, align, mb, ms, spread
from polzoo.evaluation.benchmark_result import FusionResult, FusionRow, Run, Setting, Spread
from polzoo.evaluation.benchmark_timing import Sample, take_turns, threads
from polzoo.registry import registry
from polzoo.spec import format_part, parse_part

NONE = "none"
BACKBONE = "raft-lite"
"""The backbone of the published figures."""


def bench_fusions(
    setting: Setting,
    *,
    backbone: str = BACKBONE,
    iterations: int = 8,
    only: Sequence[str] = (),
    command: str = "",
    progress: Callable[[str], None] = lambda line: None,
) -> FusionResult:
    """Time and memory of the fusions ``only`` (by default all that are registered) over those of ``none``.

    A round runs each fusion right after, or right before, a run of ``none``, and every round gives a ratio. A fusion
    that cannot run there has a row with the reason.

    Raises:
        PolzooError: an unknown backbone or fusion, or a setting that makes no sense.
    """
    check(setting)
    run = Run.now(command, setting.device, setting.threads)
    base = format_part("backbone", parse_part("backbone", backbone))
    names = [registry().get("fusion", name).key for name in only] or names_of_fusions()
    with threads(setting.threads):
        ready, refused = _ready(base, [NONE, *(name for name in names if name != NONE)], setting, iterations)
        progress(f"time of {len(ready)} models: {setting.warmup} + {setting.rounds} rounds")
        samples = _pairs(ready, setting)
        rows: list[FusionRow] = []
        for name, one in ready.items():
            progress(f"memory of {name}")
            peak = fresh(footprint, one.name, one.form, setting, iterations).peak
            of_none = rows[0].peak_bytes if rows else peak
            rows.append(_row(name, one, samples[name], peak, of_none or peak))
    rows += [FusionRow(name=name, error=reason) for name, reason in refused.items()]
    return FusionResult(setting=setting, backbone=base, iterations=iterations, rows=tuple(rows), run=run)


def names_of_fusions(distribution: str | None = None) -> list[str]:
    """Every registered fusion, or those of one distribution; ``none`` first."""
    entries = registry().entries("fusion")
    return sorted((e.key for e in entries if distribution in (None, e.distribution)), key=lambda name: name != NONE)


def _ready(base: str, names: list[str], setting: Setting, iterations: int) -> tuple[dict[str, Ready], dict[str, str]]:
    """Models that run on this backbone, and why the others do not."""
    ready, refused = {}, {}
    for name in names:
        try:
            one = Ready(f"{base}+fusion={name}", "inference", setting, iterations)
            with torch.inference_mode():
                one.run(1)
            ready[name] = one
        except PolzooError as error:
            if name == NONE:
                raise
            refused[name] = one_line(error)
    return ready, refused


def _pairs(ready: dict[str, Ready], setting: Setting) -> dict[str, tuple[list[Sample], list[Sample]]]:
    """Per fusion its samples and those of ``none`` beside them."""
    fusions = [name for name in ready if name != NONE]
    runs = [run for name in fusions for run in (ready[NONE].run, ready[name].run)] or [ready[NONE].run]
    samples = take_turns(runs, setting.rounds, warmup=setting.warmup, device=setting.device)
    every = [sample for taken in samples[::2] for sample in taken]
    found = {name: (samples[2 * i + 1], samples[2 * i]) for i, name in enumerate(fusions)}
    return {NONE: (every, every), **found}


def _row(name: str, one: Ready, samples: tuple[list[Sample], list[Sample]], peak: int, peak_of_none: int) -> FusionRow:
    wall, wall_of_none = (Spread.of([sample.wall for sample in taken]) for taken in samples)
    cpu, cpu_of_none = (Spread.of([sample.cpu for sample in taken]) for taken in samples)
    return FusionRow(
        name=name,
        parameters=one.parameters()["total"],
        wall_ms=wall,
        cpu_ms=cpu,
        wall=Spread.ratio(wall, wall_of_none),
        cpu=Spread.ratio(cpu, cpu_of_none),
        peak_bytes=peak,
        peak=peak / peak_of_none,
    )


def table(result: FusionResult) -> str:
    """The result as text."""
    first = result.rows[0]
    rows = [["", "parameters", "CPU time", "CPU / none", "wall / none", "peak", "/ none", "more"]]
    for row in result.rows:
        if row.parameters and row.cpu and row.wall and row.cpu_ms and row.peak_bytes and row.peak and first.peak_bytes:
            cells = [f"{row.parameters:,}", ms(row.cpu_ms.median), spread(row.cpu), spread(row.wall)]
            cells += [mb(row.peak_bytes), f"{row.peak:.2f}×", mb(row.peak_bytes - first.peak_bytes)]
            rows.append([row.name, *cells])
    head = [f"fusions on {result.backbone}, {result.iterations} iterations", *about_run(result.setting, result.run)]
    refused = [f"{row.name}: {row.error}" for row in result.rows if row.error]
    return "\n".join([*head, "", *align(rows), *refused])
