"""What a model costs: time, memory and operations, as a whole, per iteration and per part, alone or beside another.

Two models take turns in one run, so their ratios hold on a busy machine too; medians of several rounds. Memory is
measured in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from polzoo import spec
from polzoo.errors import PolzooError
from polzoo.evaluation import benchmark_report as report
from polzoo.evaluation import machine
from polzoo.evaluation.benchmark_memory import Footprint, footprint, fresh
from polzoo.evaluation.benchmark_model import Ready
from polzoo.evaluation.benchmark_parts import Clock, Trail, operations, watched
from polzoo.evaluation.benchmark_result import Form, Measured, Part, Ratios, Result, Run, Setting, Spread
from polzoo.evaluation.benchmark_timing import Sample, take_turns, threads

PLAIN = "plain"
"""``against`` this: the same weights as they are trained, in float32 and eager."""

WATCHED = 3
"""Runs whose parts are timed."""

Progress = Callable[[str], None]


def bench(
    name: str,
    setting: Setting,
    *,
    iterations: int | None = None,
    against: str | None = None,
    command: str = "",
    progress: Progress = lambda line: None,
) -> Result:
    """Measure one model, or two that take turns.

    Args:
        name: a checkpoint, or a spec with fresh weights.
        iterations: of both; where None each model's own, or those of the earlier result.
        against: another checkpoint or spec, :data:`PLAIN`, or the JSON file of an earlier result, which is no pair.
        command: what to note as the command.
        progress: told what is being done.

    Raises:
        PolzooError: an unknown model, a device that is not there, more threads than CPUs, or a model that cannot run.
    """
    check(setting)
    run = Run.now(command, setting.device, setting.threads)
    before = None
    if against is not None and (against.endswith(".json") or Path(against).is_file()):
        before, against = report.earlier(Path(against), setting, iterations), None
        iterations = before.model.iterations
    form: Form = "compiled" if setting.compile else "inference"
    entries: list[tuple[str, Form]] = [(name, form)]
    if against is not None:
        entries.append((name, "plain") if against == PLAIN else (against, form))
    with threads(setting.threads):
        ready = [Ready(text, kind, setting, iterations) for text, kind in entries]
        progress(f"time: {setting.warmup} + {setting.rounds} rounds")
        samples = time_all(ready, setting)
        models = []
        for one, (text, kind), taken in zip(ready, entries, samples, strict=True):
            progress(f"{one.title}: parts, operations and memory")
            models.append(_measured(one, taken, fresh(footprint, text, kind, setting, iterations), setting))
        ratios = None if against is None else _ratios(models, _difference(ready) if against == PLAIN else None)
    return Result(setting=setting, models=tuple(models), ratios=ratios, earlier=before, run=run)


def check(setting: Setting) -> None:
    """A PolzooError for a setting that makes no sense on this machine."""
    if setting.threads > machine.cpus():
        raise PolzooError(f"{setting.threads} threads on {machine.cpus()} CPUs would wait for each other; use fewer")
    if setting.device.partition(":")[0] not in ("cpu", "cuda"):
        raise PolzooError(f"device {setting.device!r} cannot be measured; allowed: cpu, cuda, cuda:1, …")
    if setting.device.startswith("cuda") and not torch.cuda.is_available():
        raise PolzooError(f"cannot use device {setting.device!r}: this machine or this torch has no CUDA")


def time_all(ready: list[Ready], setting: Setting) -> list[tuple[list[Sample], list[Sample]]]:
    """Samples of every model at its own number of iterations and at :func:`other`; all runs take turns."""
    runs: list[Callable[[], object]] = [one.run for one in ready]
    runs += [lambda one=one: one.run(other(one.iterations)) for one in ready]
    samples = take_turns(runs, setting.rounds, warmup=setting.warmup, device=setting.device)
    return [(samples[i], samples[i + len(ready)]) for i in range(len(ready))]


def other(iterations: int) -> int:
    """The number of iterations whose difference tells what one costs."""
    return 1 if iterations > 1 else 2


def _measured(one: Ready, taken: tuple[list[Sample], list[Sample]], memory: Footprint, setting: Setting) -> Measured:
    few = other(one.iterations)
    steps = one.iterations - few
    flops, by_part = operations(one.plain_run, one.model)
    fewer_flops, _ = operations(lambda: one.plain_run(few))
    own, others = taken
    each = {
        what: Spread.of([(getattr(a, what) - getattr(b, what)) / steps for a, b in zip(own, others, strict=True)])
        for what in ("wall", "cpu")
    }
    return Measured(
        name=one.name,
        spec=spec.format(one.model.spec),
        weights=one.weights,
        form=one.form,
        iterations=one.iterations,
        parameters=one.parameters(),
        wall_ms=Spread.of([sample.wall for sample in own]),
        cpu_ms=Spread.of([sample.cpu for sample in own]),
        wall_ms_per_iteration=each["wall"],
        cpu_ms_per_iteration=each["cpu"],
        flops=flops,
        flops_per_iteration=(flops - fewer_flops) // steps,
        weight_bytes=memory.weights,
        peak_bytes=memory.peak,
        resident_bytes=memory.resident,
        parts=_parts(one, by_part, memory.parts, setting),
    )


def _parts(one: Ready, flops: dict[Trail, int], peaks: dict[Trail, int], setting: Setting) -> tuple[Part, ...]:
    """Parts of the eager form, in the order in which they first ran."""
    taken: list[dict[Trail, Any]] = []
    for _ in range(WATCHED):
        with torch.inference_mode(), watched(one.model, Clock(setting.device)) as found:
            one.plain_run()
        taken.append(found)
    return tuple(
        Part(
            path=path,
            wall_ms=median(found[path][0] for found in taken),
            cpu_ms=median(found[path][1] for found in taken),
            flops=flops.get(path, 0),
            peak_bytes=peaks.get(path),
        )
        for path in sorted(taken[0], key=lambda path: _place(path, list(taken[0])))
    )


def _place(path: Trail, ran: list[Trail]) -> list[int]:
    """Sorts parts by their first run, each before what is inside it (which ended, and was noted, first)."""
    heads = [path[: depth + 1] for depth in range(len(path))]
    return [min(i for i, one in enumerate(ran) if one[: len(head)] == head) for head in heads]


def _ratios(models: list[Measured], differ: float | None) -> Ratios:
    one, two = models
    return Ratios(
        wall=Spread.ratio(one.wall_ms, two.wall_ms),
        cpu=Spread.ratio(one.cpu_ms, two.cpu_ms),
        peak=one.peak_bytes / two.peak_bytes,
        flops=one.flops / two.flops,
        parameters=one.parameters["total"] / two.parameters["total"],
        differ_px=differ,
    )


def _difference(ready: list[Ready]) -> float:
    """Largest difference in pixels between the outputs of two models."""
    with torch.inference_mode():
        one, two = (model.run() for model in ready)
    return (one - two).abs().max().item()
