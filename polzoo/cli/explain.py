"""``polzoo explain``: what a model's fusion let in and where it attended, as one picture and as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polzoo.cli.predict import DEFAULT_MODEL, DEFAULT_OUT, check_given, check_out
from polzoo.errors import PolzooError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polzoo.explain import Explanation, Floats
    from polzoo.visualize import Picture

    Truth = tuple[NDArray, NDArray]
    Row = list[tuple[str, Picture]]

MOST = 6
"""Steps that the picture shows; the NPZ has all."""

WIDTH = 300
"""Pixels that a panel is wide."""

RANGES = {"gate": (0.0, 1.0), "gates": (0.0, 1.0), "attention": (0.0, 1.0)}
"""Recorded maps whose colours mean the same in every picture; others run over the values that are shown."""

CHANGE = (0.0, 2.0)
"""Pixels of |increment| that its colours run over: the first steps go far beyond, the last are what one looks for."""


class PointType(click.ParamType):
    """``X,Y``, whole pixels."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            x, y = (int(number) for number in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not X,Y, two whole numbers of pixels such as 120,64", param, ctx)
        return x, y


@click.command("explain", short_help="Show what a model's fusion does on a pair.")
@click.argument("left", type=click.Path(path_type=Path))
@click.argument("right", type=click.Path(path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A checkpoint: a name or a folder.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="Folder to write into."
)
@click.option("--polarity", help="Analysers: parallel-crossed, crossed-parallel, none. [default: the checkpoint's own]")
@click.option("--iterations", type=click.IntRange(1, 1000), help="Refinement steps. [default: the checkpoint's own]")
@click.option("--point", "points", multiple=True, type=PointType(), help="Pixel whose attention to show; repeatable.")
@click.option("--truth", type=click.Path(path_type=Path), help="True disparity: 16-bit PNG, PFM or NPY.")
def command(
    left: Path,
    right: Path,
    model: str,
    out: Path,
    polarity: str | None,
    iterations: int | None,
    points: tuple[tuple[int, int], ...],
    truth: Path | None,
) -> None:
    """Match LEFT with RIGHT and show what happened inside, step by step: disparity, increment, gate, residual.

    Writes one picture and, for programs, all maps of all steps as NPZ; see polzoo.explain.Explanation for its arrays.
    """
    check_out(out)
    check_given(model, left, right, *([truth] if truth else []))
    import polzoo
    from polzoo.data.files import write_all
    from polzoo.data.formats import encode_image, read_disparity
    from polzoo.explain import explain
    from polzoo.predict import as_image, as_polarity

    sign, views = as_polarity(polarity), (as_image(left, "left"), as_image(right, "right"))
    known = None if truth is None else read_disparity(truth)
    if known is not None and known[0].shape != views[0].shape[1:]:
        sizes = (f"{shape[1]}×{shape[0]}" for shape in (known[0].shape, views[0].shape[1:]))
        raise PolzooError("--truth {} is {} pixels, left is {}".format(truth, *sizes))
    if known is not None and not known[1].any():
        raise PolzooError(f"--truth {truth} has no valid disparity")
    network = polzoo.load(model, fuse=True)
    pictures = (view.transpose(1, 2, 0) for view in views)
    found = explain(network, *pictures, polarity=sign, iterations=iterations, points=points)
    title = f"{model}, fusion {network.spec.fusion.name}, {len(found.alpha)} steps"
    stem = out / f"{left.stem}-explained"
    picture = encode_image(draw(found, *views, truth=known, title=title))
    for path in write_all(
        {stem.with_name(f"{stem.name}.png"): picture, stem.with_name(f"{stem.name}.npz"): found.npz()}
    ):
        click.echo(path)
    if found.shares:
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in found.shares.items())
        click.echo(f"worked on, of the feature grid: {shares}", err=True)


def draw(found: Explanation, left, right, *, truth: Truth | None = None, title: str = "") -> Picture:
    """Everything on one sheet, (H, W, 3) uint8: the pair, then a row for each quantity with a column for each step.

    Args:
        left, right: (3, H, W) float in [0, 1].
        truth: disparity and validity, (H, W) each.
    """
    import numpy as np

    from polzoo.visualize import colour, marked, sheet, view

    points = [] if found.attention is None else found.attention.points.tolist()
    low, high = _ends(found.disparity[-1] if truth is None else truth[0][truth[1]])
    head = [
        ("left", marked(view(left), points)),
        ("right", view(right)),
        (f"disparity, {low:.1f} to {high:.1f} px", colour(found.disparity[-1], low, high)),
    ]
    if truth is not None:
        head.append(("truth", colour(truth[0], low, high, truth[1])))
    shown = np.unique(np.linspace(0, len(found.alpha) - 1, MOST).round().astype(int)).tolist()
    outside = {name: one for name, one in found.outside.items() if one.ndim}
    extra = [panel for name, one in outside.items() for panel in _maps(found, name, [one], RANGES.get(name))]
    rows = [head, *_steps(found, shown, truth, low, high), extra, _attention(found, view(left))]
    if not (found.recorded or found.outside or found.attention):
        title += " (it records nothing: disparity and its change only)"
    title += "".join(f", {name} {float(value):.3g}" for name, value in found.outside.items() if not value.ndim)
    columns = max(len(head), len(shown))
    return sheet([panel for row in rows for panel in _whole(row, columns)], columns, title)


def _steps(found: Explanation, shown: list[int], truth: Truth | None, low: float, high: float) -> list[Row]:
    """Rows of the quantities that every step has."""
    import numpy as np

    from polzoo.evaluation.metrics import EPE
    from polzoo.visualize import colour, error_map

    weights = [f", alpha {weight:.2f}" * (not np.isnan(weight)) for weight in found.alpha]
    rows = [[(f"step {i + 1}{weights[i]}", colour(found.disparity[i], low, high)) for i in shown]]
    if truth is not None:
        sums = (EPE()(found.disparity[i], *truth) for i in shown)
        captions = [f"error, EPE {total / max(1, count):.2f} px, white: 5 px and more" for total, count in sums]
        errors = (error_map(found.disparity[i], *truth) for i in shown)
        rows.append(list(zip(captions, errors, strict=True)))
    rows.append(_maps(found, "change, px", [np.abs(found.steps["delta"][i]) for i in shown], CHANGE))
    rows += [_maps(found, name, [found.steps[name][i] for i in shown], RANGES.get(name)) for name in found.recorded]
    return rows


def _maps(found: Explanation, label: str, maps: list[Floats], ends: tuple[float, float] | None) -> Row:
    """Maps of the feature grid in the colours of one scale, that of their own values where none is given."""
    import numpy as np

    from polzoo.visualize import colour, on_view

    full = [on_view(one, found.disparity.shape[1:], found.crop) for one in maps]
    ends = ends or _ends(np.stack(full))
    scale = f"{ends[0]:.2g} to {ends[1]:.2g}"
    return [(f"{label}: mean {one.mean():.3g} ({scale})", colour(one, *ends)) for one in full]


def _ends(values: Floats) -> tuple[float, float]:
    """1st and 99th percentile of the finite values; 0 and 1 where there are none."""
    import numpy as np

    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (1, 99)) if known.size else (0, 1)
    return float(low), float(high)


def _attention(found: Explanation, left: Picture) -> Row:
    """Where the chosen points, and all together, attended, in colour over the left view."""
    import cv2
    import numpy as np

    from polzoo.visualize import colour, marked, on_view

    if found.attention is None:
        return []
    captions = ["attention, averaged"] + [f"attention of point {n + 1}" for n in range(len(found.attention.points))]
    row = []
    for n, (caption, values) in enumerate(zip(captions, (found.attention.mean, *found.attention.maps), strict=True)):
        full = on_view(values * values.size, left.shape[:2], found.crop)
        most = float(full.max())
        mixed = cv2.addWeighted(colour(full, 0, max(2, most)), 0.6, left, 0.4, 0).astype(np.uint8)
        at = found.attention.points.tolist()[n - 1 : n] if n else []
        row.append((f"{caption}, at most {most:.2g} times uniform", marked(mixed, at, n)))
    return row


def _whole(row: Row, columns: int) -> Row:
    """The panels at one width, filled up with empty ones to whole rows of the sheet."""
    import cv2
    import numpy as np

    panels = []
    for caption, picture in row:
        size = WIDTH, max(1, WIDTH * picture.shape[0] // picture.shape[1])
        panels.append((caption, cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)))
    return panels + [("", np.full((1, 1, 3), 246, np.uint8))] * (-len(row) % columns)
