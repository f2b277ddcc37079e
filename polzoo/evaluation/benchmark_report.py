"""Benchmark results as tables for people, and results of earlier runs beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from polzoo.errors import PolzooError
from polzoo.evaluation.benchmark_result import Earlier, Measured, Part, Result, Run, Setting, Spread, read

Rows = list[list[str]]

FORMS = {
    "inference": "inference copy",
    "compiled": "inference copy, compiled (parts and FLOPs are of the eager one)",
    "plain": "plain: as it is trained, float32, eager",
}


def table(result: Result) -> str:
    """A result as text: what was measured, the figures (of two models side by side), and the parts of each."""
    models = [*result.models, *([result.earlier.model] if result.earlier else [])]
    names = "AB"[: len(models)] if len(models) > 1 else " "
    lines = [f"{name} {_about(model)}".strip() for name, model in zip(names, models, strict=True)]
    lines += ["", *about_run(result.setting, result.run), *_about_earlier(result.earlier), ""]
    lines += align(_figures(result, models, names))
    for name, model in zip(names, result.models, strict=False):
        synchronised = ", waiting for the GPU at every boundary" * result.setting.device.startswith("cuda")
        lines += ["", f"parts {name}".rstrip() + f", medians of runs of their own{synchronised}"]
        lines += align(_parts(model.parts, model.flops))
    return "\n".join(lines)


def about_run(setting: Setting, run: Run) -> list[str]:
    """Size, device, rounds, machine and versions, and whether the machine had other things to do."""
    load = "" if run.load is None else f"; load {run.load:.1f} at the start"
    busy = ", so other programs took part: CPU time is the fairer figure" * run.busy
    seen = "" if setting.images is None else f" of {' and '.join(setting.images)}"
    return [
        f"{setting.height} × {setting.width}{seen}, batch 1, {setting.dtype}, {setting.device}, {threads(setting)}, "
        f"{setting.rounds} rounds after {setting.warmup}, {run.date}",
        run.machine + load + busy,
        ", ".join(f"{name} {version}" for name, version in run.versions.items()),
    ]


def short(weights: str) -> str:
    """What a model's weights are, with twelve digits of a hash."""
    return weights if weights.startswith("random") else weights[: len("sha256 ") + 12]


def threads(setting: Setting) -> str:
    return f"{setting.threads} thread{'s' * (setting.threads > 1)}"


def align(rows: Rows) -> list[str]:
    """Cells in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(n) if i else cell.ljust(n) for i, (cell, n) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def spread(ratio: Spread) -> str:
    """A ratio's median, and its least and most over the rounds."""
    return f"{ratio.median:.2f}× ({ratio.least:.2f} … {ratio.most:.2f})"


def _about(model: Measured) -> str:
    spec = "" if model.weights.startswith("random") else f" {model.spec},"
    return f"{model.name}: {short(model.weights)},{spec} {model.iterations} iterations, {FORMS[model.form]}"


def _about_earlier(earlier: Earlier | None) -> list[str]:
    if earlier is None:
        return []
    where = f"B is history: {earlier.file}, another run of {earlier.run.date} on {earlier.run.machine}"
    return [f"{where}; nothing was paired, so the ratios hold no better than the two machines were alike"]


def _figures(result: Result, models: Sequence[Measured], names: str) -> Rows:
    ratios, two = result.ratios, len(models) == 2

    def row(title: str, value: Callable[[Measured], Any], shown: Callable[[float], str], by: str = "") -> list[str]:
        values = [value(model) for model in models]
        cells = ["–" if v is None else shown(v) for v in values]
        if two:
            a, b = values
            cells.append(by or (f"{a / b:.2f}×" if None not in values and a >= 0 < b else ""))
        return [title, *cells]

    walls, cpus = ("", "") if ratios is None else (spread(ratios.wall), spread(ratios.cpu))
    rows = [
        ["", *names, *(["A / B"] if two else [])],
        row("wall time, median", lambda m: m.wall_ms.median, ms, walls),
        row("wall time, p95", lambda m: m.wall_ms.p95, ms),
        row("CPU time, median", lambda m: m.cpu_ms.median, ms, cpus),
        row("CPU time, p95", lambda m: m.cpu_ms.p95, ms),
        row("per iteration, wall", lambda m: m.wall_ms_per_iteration.median, ms),
        row("per iteration, CPU", lambda m: m.cpu_ms_per_iteration.median, ms),
        row("peak of live tensors", lambda m: m.peak_bytes, mb),
        row("weights", lambda m: m.weight_bytes, mb),
        row("process at most", lambda m: m.resident_bytes, mb),
        row("FLOPs", lambda m: m.flops, _flops),
        row("FLOPs per iteration", lambda m: m.flops_per_iteration, _flops),
        row("parameters", lambda m: m.parameters["total"], _count),
    ]
    for kind in ("backbone", "fusion", "cell"):
        rows.append(row(f"  {kind}", lambda m, kind=kind: m.parameters[kind], _count))
    if ratios is not None and ratios.differ_px is not None:
        rows.append(["outputs differ", "", "", f"≤ {ratios.differ_px:.1e} px"])
    return rows


def _parts(parts: Sequence[Part], flops: int) -> Rows:
    """Parts as rows, those inside another one indented, and what no part accounts for."""
    top = [part for part in parts if len(part.path) == 1]
    wall, cpu = (sum(getattr(part, what) for part in top) for what in ("wall_ms", "cpu_ms"))
    rows = [["", "wall", "CPU", "of CPU", "FLOPs", "peak"]]
    for part in parts:
        name = "  " * len(part.path) + part.path[-1]
        peak = "–" if part.peak_bytes is None else mb(part.peak_bytes)
        share = f"{100 * part.cpu_ms / cpu:.1f} %" if cpu else "–"
        rows.append([name, ms(part.wall_ms), ms(part.cpu_ms), share, _flops(part.flops), peak])
    return [*rows, ["  all parts", ms(wall), ms(cpu), "", _flops(sum(part.flops for part in top)), ""]]


def ms(value: float) -> str:
    """Milliseconds with three or more digits."""
    return f"{value:,.1f} ms" if value >= 1 or value == 0 else f"{value:.3f} ms"


def mb(value: float) -> str:
    """Bytes in MB, 10^6 of them."""
    return f"{value / 1e6:,.1f} MB"


def _flops(value: float) -> str:
    return f"{value / 1e9:,.1f} G" if value >= 1e9 else f"{value / 1e6:,.1f} M" if value else "–"


def _count(value: float) -> str:
    return f"{value:,.0f}"


# ------------------------------------------------------------------------------------------------------------ history


def alike(one: Setting, other: Setting) -> list[str]:
    """In what two settings differ that times depend on, in words."""
    fields = ("height", "width", "device", "dtype", "threads", "compile")
    return [
        f"{field} {getattr(other, field)}, not {getattr(one, field)}"
        for field in fields
        if getattr(one, field) != getattr(other, field)
    ]


def earlier(path: Path, setting: Setting, iterations: int | None) -> Earlier:
    """The first model of an earlier result, measured in the same setting (and at these iterations, if given).

    Raises:
        PolzooError: no such result, or one that cannot be compared.
    """
    result = read(path, Result)
    model = result.models[0]
    differ = alike(setting, result.setting)
    if iterations not in (None, model.iterations):
        differ.append(f"{model.iterations} iterations, not {iterations}")
    if differ:
        raise PolzooError(f"{path} cannot be compared with this run: it was measured with {', '.join(differ)}")
    return Earlier(file=str(path), model=model, run=result.run)


def history(files: Sequence[Path]) -> str:
    """Every model of every file, oldest first, and its times over those of the first run like it."""
    found = sorted(((read(path, Result), path) for path in files), key=lambda item: item[0].run.date)
    rows = [["run", "model", "setting", "wall", "CPU", "peak", "wall ×", "CPU ×", "peak ×"]]
    first: dict[tuple[str, ...], Measured] = {}
    for result, path in found:
        for model in result.models:
            base = first.setdefault(_kind(result.setting, model), model)
            rows.append([f"{result.run.date[:16]} {path.name}", *_line(result.setting, model), *_over(model, base)])
    notes = [f"{path.name}: {result.run.machine}" + ", busy" * result.run.busy for result, path in found]
    warning = "Every line is a run of its own: a ratio holds no better than the machines were alike."
    return "\n".join([*align(rows), "", *notes, warning])


def _kind(setting: Setting, model: Measured) -> tuple[str, ...]:
    """What must be equal for two runs to be compared."""
    return model.name, model.spec, model.form, _how(setting, model)


def _how(setting: Setting, model: Measured) -> str:
    how = f"{setting.height}×{setting.width}, {model.iterations} it, {setting.dtype}, {setting.device}"
    return f"{how}, {threads(setting)}"


def _line(setting: Setting, model: Measured) -> list[str]:
    name = model.name if model.form == "inference" else f"{model.name} ({model.form})"
    figures = ms(model.wall_ms.median), ms(model.cpu_ms.median), mb(model.peak_bytes)
    return [name, _how(setting, model), *figures]


def _over(model: Measured, base: Measured) -> list[str]:
    pairs = ((m.wall_ms.median, m.cpu_ms.median, m.peak_bytes) for m in (model, base))
    return [f"{one / other:.2f}" for one, other in zip(*pairs, strict=True)]
