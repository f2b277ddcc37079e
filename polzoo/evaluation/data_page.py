"""Pairs of a data set to look at, and what ``polzoo data check`` found, as a page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from polzoo.data.check import KINDS, NOTES, Finding, Report
from polzoo.data.check_truth import residual
from polzoo.data.sample import Sample
from polzoo.errors import one_line
from polzoo.visualize import Picture, colour, overlay, sheet, view

if TYPE_CHECKING:
    from polzoo.interfaces import Dataset

MASKS = ("valid", "visible", "outside", "glass")
LIMIT = 40.0
"""Grey levels at which the picture of the residual ends."""


WIDE = 400
"""Pixels; on a page, a panel is no wider."""


def picture(sample: Sample, title: str = "", wide: int | None = None) -> Picture:
    """One sheet of a pair: views, disparity, how far the views differ under it, and masks on the left view.

    Each panel has the pair's own size, or is shrunk to ``wide`` columns.
    """
    left = view(sample.left)
    panels = [("left", left), ("right", view(sample.right))]
    if sample.disparity is not None:
        known = np.isfinite(sample.disparity[0]) if sample.valid is None else sample.valid[0]
        values = sample.disparity[0][known]
        ends = f" {values.min():.1f} to {values.max():.1f} px" if values.size else ", nothing known"
        panels.append((f"disparity{ends}", colour(sample.disparity[0], valid=known)))
        if values.size:
            panels.append((f"|left - right at x - d|, red: {LIMIT:.0f} of 255", colour(residual(sample), 0, LIMIT)))
    for name in MASKS:
        mask = getattr(sample, name)
        if mask is not None:
            panels.append((f"{name}, {mask.mean():.1%}", overlay(left, mask[0])))
    return sheet([(caption, _shrunk(panel, wide)) for caption, panel in panels], title=title)


def _shrunk(panel: Picture, wide: int | None) -> Picture:
    height, width = panel.shape[:2]
    if wide is None or width <= wide:
        return panel
    return cv2.resize(panel, (wide, round(height * wide / width)), interpolation=cv2.INTER_AREA).astype(np.uint8)


def page(report: Report, dataset: Dataset, data: str, most: int = 12) -> bytes:
    """The report as HTML in UTF-8, with pictures of at most ``most`` pairs: those with most problems first."""
    said = f"{report.pairs} pairs, {len(report.problems)} problems, {len(report.notes)} notes"
    body = [f"<h1>{html.escape(data)}</h1><p>{said}</p>"]
    body += [_table(name, found) for name, found in (("Problems", report.problems), ("Notes", report.notes)) if found]
    for index in worst(report)[:most]:
        lines = "<br>".join(html.escape(f"{f.kind}: {f.text}") for f in report.findings if f.index == index)
        body.append(f"<h2>Pair {index}</h2><p>{lines}</p>{_shown(dataset, index)}")
    return (HEAD + "\n".join(body) + "</body></html>\n").encode()


def worst(report: Report) -> list[int]:
    """Pairs with a problem, those with most of them first."""
    found: dict[int, int] = {}
    for finding in report.problems:
        if finding.index is not None:
            found[finding.index] = found.get(finding.index, 0) + 1
    return sorted(found, key=lambda index: (-found[index], index))


HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>polzoo data check</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
img { max-width: 100% }
</style></head><body>
"""


def _table(name: str, findings: list[Finding]) -> str:
    about = KINDS | NOTES
    rows = "".join(
        f'<tr title="{html.escape(about[f.kind])}"><td>{f.kind}</td><td>{"" if f.index is None else f.index}</td>'
        f"<td>{html.escape(f.name)}</td><td>{html.escape(f.text)}</td></tr>"
        for f in findings
    )
    return f"<h2>{name}</h2><table><tr><th>kind</th><th>pair</th><th>name</th><th></th></tr>{rows}</table>"


def _shown(dataset: Dataset, index: int) -> str:
    """The sheet of a pair, or why there is none."""
    try:
        shown = picture(dataset[index], wide=WIDE)
    except Exception as error:  # whatever is wrong with the pair is why it is on the page
        return f"<p>No picture: {html.escape(one_line(error))}</p>"
    file = io.BytesIO()
    Image.fromarray(shown).save(file, "JPEG", quality=85)
    return f'<img alt="pair {index}" src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'


def text(report: Report, data: str, most: int = 10) -> str:
    """The report as lines for people: of every kind how many, and the first ``most`` of them."""

    def lines() -> Iterator[str]:
        for title, kinds, findings in (("problem", KINDS, report.problems), ("note", NOTES, report.notes)):
            for kind in kinds:
                mine = [finding for finding in findings if finding.kind == kind]
                if mine:
                    yield f"{title}: {kind} ({len(mine)}): {kinds[kind]}"
                    yield from (f"  {_of(finding)}{finding.text}" for finding in mine[:most])
                    if len(mine) > most:
                        yield f"  … and {len(mine) - most} more (--json lists all)"

    fits = sorted(report.fits.values())
    agree = f", agreement {fits[0]:.2f} to {fits[-1]:.2f}" if fits else ""
    verdict = f"{len(report.problems)} problems" if report.problems else "nothing wrong"
    return "\n".join([f"{data}: {report.pairs} pairs{agree}: {verdict}", *lines()])


def _of(finding: Finding) -> str:
    if finding.index is None:
        return ""
    return f"pair {finding.index}{f' ({finding.name})' if finding.name else ''}: "
