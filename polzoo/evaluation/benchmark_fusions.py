"""What every fusion costs on one backbone, each in turn with a run of ``none``; and the table on the fusions' page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import polzoo
from polzoo.components import OURS
from polzoo.data.files import read_bytes, write_bytes
from polzoo.errors import PolzooError, one_line
from polzoo.evaluation.benchmark import check
from polzoo.evaluation.benchmark_memory import footprint, fresh
from polzoo.evaluation.benchmark_model import Ready
from polzoo.evaluation.benchmark_parts import own_hooks
from polzoo.evaluation.benchmark_report import about_run, align, mb, ms, spread
from polzoo.evaluation.benchmark_result import FusionResult, FusionRow, Run, Setting, Spread
from polzoo.evaluation.benchmark_timing import Sample, take_turns, threads
from polzoo.registry import registry
from polzoo.spec import format_part, parse_part

NONE = "none"
BACKBONE = "raft-lite"
"""The backbone that the page counts and measures on."""

MARKS = "<!-- table: polzoo bench fusions --page docs/fusions.md -->", "<!-- end of the table -->"
NOT_MEASURED = "not measured yet"


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


# ----------------------------------------------------------------------------------------------------------- the page


class Facts(NamedTuple):
    """What the code says of a fusion on :data:`BACKBONE`: cells of the page's table."""

    name: str
    hooks: str
    parameters: str
    more: str
    identity: str
    reach: str


def facts(name: str) -> Facts:
    """Where a fusion steps in, its parameters, whether it starts as the un-fused model, and how far it sees."""
    model, plain = polzoo.build(f"{BACKBONE}+fusion={name}"), polzoo.build(f"{BACKBONE}+{NONE}")
    count, base = (sum(p.numel() for p in m.parameters()) for m in (model, plain))
    hooks = [f"`{hook}`" for hook in own_hooks(model.fusion) if hook != "encode"]
    passes = f"{model.fusion.passes} passes" if model.fusion.passes > 1 else ""
    same = name == NONE or model.fusion.identity_at_start
    reach = "whole map" if model.fusion.reach is None else f"{model.fusion.reach}"
    if "modulate_lookup" not in own_hooks(model.fusion):
        reach = "–"
    where = ", ".join(filter(None, [*hooks, passes])) or "nowhere"
    return Facts(
        name, where, f"{count:,}", f"{count - base:+,}" if count != base else "0", "yes" if same else "no", reach
    )


def page_table(result: FusionResult | None) -> str:
    """The page's table in Markdown: facts of every fusion of polzoo's own, and its measured costs."""
    rows = {row.name: row for row in result.rows} if result else {}
    columns = ["fusion", "steps in", "parameters", "added", "identity at start", "reach"]
    lines = ["| " + " | ".join([*columns, "CPU time", "wall time", "peak memory"]) + " |", "|" + "---|" * 9]
    for name in names_of_fusions(OURS):
        lines.append("| " + " | ".join([f"`{name}`", *facts(name)[1:], *_costs(rows.get(name), rows.get(NONE))]) + " |")
    return "\n".join([*lines, "", *_measured(result)])


def _costs(row: FusionRow | None, none: FusionRow | None) -> Iterator[str]:
    if row is None or none is None or row.cpu is None or row.wall is None or row.peak is None:
        yield from [NOT_MEASURED] * 3
        return
    assert row.peak_bytes is not None and none.peak_bytes is not None
    yield spread(row.cpu)
    yield spread(row.wall)
    yield f"{row.peak:.2f}× ({(row.peak_bytes - none.peak_bytes) / 1e6:+.1f} MB)"


def _measured(result: FusionResult | None) -> list[str]:
    """How the costs were measured."""
    if result is None:
        return [f"Costs: {NOT_MEASURED} (`polzoo bench fusions --page docs/fusions.md`)."]
    how = f"Over `none` in the same round, median (least … most), {result.iterations} iterations;"
    lines = about_run(result.setting, result.run)
    return [f"{how} {'; '.join(lines)}.", "", f"```bash\n{result.run.command}\n```"]


def check_page(page: Path, backbone: str, only: Sequence[str]) -> None:
    """A PolzooError, before anything is measured, where the page's table could not be renewed."""
    if only or format_part("backbone", parse_part("backbone", backbone)) != BACKBONE:
        raise PolzooError(f"--page shows every fusion on {BACKBONE}; leave out --only and --backbone")
    _around(page)


def renew(page: Path, result: FusionResult | None) -> None:
    """Put the table between the page's marks; the rest of the page stays."""
    before, after = _around(page)
    write_bytes(page, f"{before}{MARKS[0]}\n{page_table(result)}\n{MARKS[1]}{after}".encode())


def _around(page: Path) -> tuple[str, str]:
    """What stands before and after the page's table."""
    text = read_bytes(page).decode("utf-8", "replace")
    before, first, rest = text.partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not first or not second:
        raise PolzooError(f"{page} has no table to renew: the lines {MARKS[0]!r} and {MARKS[1]!r} must stand around it")
    return before, after
