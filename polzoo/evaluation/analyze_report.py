"""An analysis as a table and as a picture."""

from __future__ import annotations

from polzoo.evaluation.analyze import SETTLED, Analysis
from polzoo.evaluation.benchmark_report import align, short
from polzoo.evaluation.plot import Line, Picture, plot
from polzoo.visualize import sheet

NOTHING = "–"


def title(found: Analysis) -> str:
    """What was analyzed, and whether its weights mean anything."""
    pairs = f"{found.pairs} pair{'s' * (found.pairs != 1)}"
    return f"{found.model} ({short(found.weights)}) on {found.data}, {pairs}"


def table(found: Analysis) -> str:
    """One row per iteration: share that moves, agreement and overlap with the iteration before per threshold, EPE."""
    heads = [f"{what} {curve.threshold:g}" for what in ("moving", "agree", "IoU") for curve in found.curves]
    rows = [["iteration", *heads, *(["EPE"] if found.epe else [])]]
    for i in range(found.iterations):
        shares = [curve.moving[i] for curve in found.curves]
        cells = [f"{100 * share:.1f} %" for share in shares]
        cells += [_share(curve.agreement[i]) for curve in found.curves]
        cells += [_share(curve.overlap[i]) for curve in found.curves]
        rows.append([str(i + 1), *cells, *([f"{found.epe[i]:.3f} px"] if found.epe else [])])
    notes = [
        f"A cell moves if {found.stride} · |Δ| on the feature grid exceeds the threshold in pixels; "
        f"{found.cells:,} cells in all."
    ]
    if found.iterations > 1:
        notes += [_settled(curve.threshold, curve.settled) for curve in found.curves]
    still = {f"{curve.threshold:g}": max(curve.still) for curve in found.curves if max(curve.still)}
    if still:
        counts = ", ".join(f"{count} at {threshold} px" for threshold, count in still.items())
        notes.append(f"IoU leaves out pairs in which nothing moved in both iterations: at most {counts}.")
    return "\n".join([title(found), found.spec, "", *align(rows), "", *notes])


def picture(found: Analysis) -> Picture:
    """Share that moves, agreement, overlap and, with truth, EPE over the iterations, on one sheet."""
    labels = [f"{curve.threshold:g} px" for curve in found.curves]

    def lines(what: str) -> list[Line]:
        return [Line(label, getattr(curve, what)) for label, curve in zip(labels, found.curves, strict=True)]

    panels = [
        ("share of cells that move", plot(lines("moving"), low=0, high=1)),
        ("agreement with the iteration before", plot(lines("agreement"), low=_floor(found), high=1)),
        ("intersection over union with the iteration before", plot(lines("overlap"), low=0, high=1)),
    ]
    if found.epe:
        low, high = min(found.epe), max(found.epe)
        room = 0.1 * (high - low) or 0.5
        panels.append(("EPE, px", plot([Line("", found.epe)], low=low - room, high=high + room)))
    return sheet(panels, columns=2, title=title(found))


def _floor(found: Analysis) -> float:
    """Where the axis of agreement starts: it is near 1, where differences should be seen."""
    least = min((a for curve in found.curves for a in curve.agreement if a is not None), default=0.0)
    return min(0.95, int(10 * least) / 10)


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _settled(threshold: float, iteration: int | None) -> str:
    when = "never" if iteration is None else f"from iteration {iteration} on"
    return f"Agreement above {SETTLED} at {threshold:g} px: {when}."
