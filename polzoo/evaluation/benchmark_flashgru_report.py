"""What ``polzoo bench flashgru`` found, as text, as Markdown on a page, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from polzoo.data.formats import write_image
from polzoo.evaluation.benchmark_flashgru import PAPER, FlashResult, FlashRow
from polzoo.evaluation.benchmark_flashgru_forms import NATIVE
from polzoo.evaluation.benchmark_report import align, mb, ms
from polzoo.evaluation.plot import Line, plot

MARKS = "<!-- table: polzoo bench flashgru --page docs/flashgru.md -->", "<!-- end of the table -->"
HEAD: tuple[str, ...] = (
    "",
    "time",
    "over native",
    "over best dense",
    "peak",
    "/ native",
    "bytes / native",
    "at least",
    "active",
)


class Ratios(NamedTuple):
    """A row over the native form and over the fastest dense one, in this order: how much faster, and less of peak and
    bytes."""

    native: float
    best: float
    peak: float | None
    bytes: float | None


def time_of(row: FlashRow) -> float | None:
    """Median ms: of the process on the CPUs, or on the clock of a GPU, launched one by one or as a graph."""
    if row.wall_ms is None or row.cpu_ms is None:
        return None
    return row.cpu_ms.median if row.graph_ms is None else min(row.wall_ms.median, row.graph_ms)


def groups(rows: Sequence[FlashRow]) -> Iterator[list[FlashRow]]:
    """Rows of one size and image together."""
    for key in dict.fromkeys((row.size, row.image) for row in rows):
        yield [row for row in rows if (row.size, row.image) == key]


def best_dense(rows: Sequence[FlashRow]) -> FlashRow | None:
    """The fastest dense form of a group."""
    timed = [(time_of(row), row) for row in rows if row.dense and row.wall_ms]
    return min(timed, key=lambda one: one[0] or 0.0)[1] if timed else None


def ratios(row: FlashRow, rows: Sequence[FlashRow]) -> Ratios | None:
    """A row of a group against its native and its best dense form."""
    native, best, own = next((r for r in rows if r.form == NATIVE), None), best_dense(rows), time_of(row)
    if native is None or best is None or own is None:
        return None
    of_native, of_best = time_of(native), time_of(best)
    if of_native is None or of_best is None:
        return None
    peak = row.peak_bytes / native.peak_bytes if row.peak_bytes and native.peak_bytes else None
    moved = row.bytes / native.bytes if row.bytes and native.bytes else None
    return Ratios(of_native / own, of_best / own, peak, moved)


def least(row: FlashRow, result: FlashResult) -> float | None:
    """Roofline: ms that the machine's rates allow for this many operations and bytes."""
    if row.flops is None or row.bytes is None:
        return None
    return 1000 * max(row.flops / result.flops_per_second, row.bytes / result.bytes_per_second)


def table(result: FlashResult) -> str:
    """The result as text."""
    return "\n".join(
        [*_head(result), *(line for title, rows in _sections(result) for line in ["", title, *align(rows)])]
    )


def markdown(result: FlashResult) -> str:
    """The result as tables in Markdown."""
    lines = [f"```text\n{chr(10).join(_head(result))}\n```"]
    for title, rows in _sections(result):
        lines += ["", title + ":", "", *(f"| {' | '.join(row)} |" for row in rows[:1]), "|---" * len(HEAD) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows[1:]]
    return "\n".join([*lines, "", f"```bash\n{result.run.command}\n```"])


def figure(result: FlashResult, path: Path) -> None:
    """Time over size as a PNG: the native form, the best dense one, and the sparse ones."""
    sized = list(groups(result.table))
    forms = dict.fromkeys(row.form for rows in sized for row in rows if not row.dense)
    best = [best_dense(rows) for rows in sized]
    lines = [Line(NATIVE, [time_of(rows[0]) for rows in sized])]
    lines.append(Line("best dense", [time_of(row) if row else None for row in best]))
    shown = [f for f in forms if f in ("density 0.1", "density 0.2") or f.startswith("top_k")] or list(forms)[:3]
    for form in shown:
        lines.append(Line(form, [next((time_of(r) for r in rows if r.form == form), None) for rows in sized]))
    high = max((value for line in lines for value in line.values if value), default=1.0)
    under = "ms at size " + ", ".join(f"{i}: {h}x{w}" for i, (h, w) in enumerate(result.setting.sizes, 1))
    picture = plot(lines, low=0.0, high=high, under=under)
    write_image(path, picture)


def _head(result: FlashResult) -> list[str]:
    s, run = result.setting, result.run
    load = "" if run.load is None else f"; load {run.load:.1f} at the start"
    busy = ", so other programs took part" * run.busy
    kind = "CPU time of the process" if s.device == "cpu" else "time on the clock"
    return [
        f"hidden {s.channels}, {s.dtype}, {s.device}, backend {s.backend}, {s.threads} threads; {kind}, median of "
        f"{s.rounds} rounds in turn, {run.date}",
        run.machine + load + busy,
        ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        f"roofline: {result.flops_per_second / 1e9:,.0f} GFLOP/s in a large convolution, "
        f"{result.bytes_per_second / 1e9:,.0f} GB/s in a large copy",
    ]


def _sections(result: FlashResult) -> Iterator[tuple[str, list[list[str]]]]:
    for rows in groups(result.step):
        h, w = rows[0].size
        yield (
            f"one step of the finest unit, {h // 4} × {w // 4} features, edges of {rows[0].image}",
            _rows(rows, result),
        )
    for rows in groups(result.table):
        h, w = rows[0].size
        paper = PAPER.get(rows[0].size)
        said = "" if paper is None else f" (paper, RTX 4090: {paper['native_ms']} to {paper['flash_ms']} ms)"
        yield f"whole recurrent part, {result.setting.iterations} iterations, {h} × {w}{said}", _rows(rows, result)


def _rows(rows: Sequence[FlashRow], result: FlashResult) -> list[list[str]]:
    found, best = [list(HEAD)], best_dense(rows)
    for row in rows:
        ratio, own, floor = ratios(row, rows), time_of(row), least(row, result)
        if own is None or ratio is None:
            found.append([row.form, row.error or "not measured", *[""] * (len(HEAD) - 2)])
            continue
        found.append(
            [
                row.form + " (best dense)" * (row is best),
                ms(own),
                f"{ratio.native:.2f}×",
                f"{ratio.best:.2f}×",
                "" if row.peak_bytes is None else mb(row.peak_bytes),
                "" if ratio.peak is None else f"{ratio.peak:.2f}×",
                "" if ratio.bytes is None else f"{ratio.bytes:.2f}×",
                "" if floor is None else ms(floor),
                ", ".join(f"{share:.1%}" for share in row.active or ()),
            ]
        )
    return found
