"""An evaluation as one HTML file: nothing is fetched, pictures are inside, and it works without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from polzoo.evaluation import report
from polzoo.evaluation.averages import DRAWS, LEVEL
from polzoo.evaluation.pictures import Shown
from polzoo.evaluation.plot import COLOURS, Line, plot

ROWS = 300
"""At most so many pairs are listed."""

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } caption { text-align: left; color: #666; padding-bottom: .4em }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #999 }
td small { display: block; color: #666 } .best { font-weight: 600 } tr.region th { padding-top: .9em }
figure { display: inline-block; margin: .3em .5em .3em 0; vertical-align: top } figcaption { font-size: 12px }
figcaption { max-width: 320px; overflow-wrap: anywhere } code { overflow-wrap: anywhere }
"""


def render(results: Sequence[tuple[Mapping[str, Any], Sequence[Shown]]]) -> str:
    """A page of results, each with the pairs to show of it."""
    body = "\n".join(line for result, shown in results for line in _result(result, shown))
    title = escape("; ".join(result["data"]["spec"] for result, _ in results))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _result(result: Mapping[str, Any], shown: Sequence[Shown]) -> Iterator[str]:
    yield f"<h1>{escape(report.title(result))}</h1>"
    if result["protocol"]:
        yield f"<p>{escape(result['protocol']['about'])}. Source: {escape(result['protocol']['source'])}.</p>"
    yield from _summary(result)
    yield from _regions(result)
    yield from _curve(result)
    yield from _each(result)
    yield from _worst(shown, result)
    yield from _made(result)


def _summary(result: Mapping[str, Any]) -> Iterator[str]:
    """The headline region: every metric of every method, and the difference to the first."""
    where, methods = report.mask(result), result["methods"]
    yield f"<h2>Summary: {escape(where)}</h2>"
    rows = []
    for method in methods:
        cells = [escape(report.label(method))]
        for metric, about in result["metrics"].items():
            figures = method["regions"][where][metric]
            value = report.headline(figures, report.averaging(result))
            notes = [_between(figures["interval"], about["unit"])]
            change = method.get("difference", {}).get(metric)
            if change and change["value"] is not None:
                notes.append(f"Δ {_signed(change['value'])} {_between(change['interval'], about['unit'])}")
            cells.append(report.number(value, about["unit"]) + _small(notes))
        score = method["gate_auc"]
        cells.append(f"{score['mean']:.3f}" if score else report.NOTHING)
        rows.append(cells)
    heads = ["", *(f"{metric} [{about['unit']}]" for metric, about in result["metrics"].items()), "gate AUC"]
    yield from _table(heads, rows)
    yield (
        f"<p>In brackets: {LEVEL} % intervals of {DRAWS:,} bootstrap draws of the pairs. Δ: minus the first method,"
        " drawn over the same pairs; an interval without 0 is a difference that does not hang on the choice of pairs."
        " Gate AUC: how well the fusion's gate tells glass from the rest; 0.5 is chance.</p>"
    )


def _regions(result: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Regions</h2>"
    rows, methods = [], result["methods"]
    for name, region in result["regions"].items():
        counts = ", ".join(f"{region[why]} {why}" for why in ("pairs", "empty", "unknown") if region[why])
        rows.append(f'<tr class="region"><th colspan="{1 + len(methods)}">{escape(name)} ({counts})</th></tr>')
        for metric, about in result["metrics"].items():
            figures = [method["regions"][name][metric] for method in methods]
            values = [report.headline(one, report.averaging(result)) for one in figures]
            best = _best(values, metric)
            cells = [f"{escape(metric)} [{about['unit']}]"]
            for value, one in zip(values, figures, strict=True):
                text = report.number(value, about["unit"]) + _small([_between(one["interval"], about["unit"])])
                cells.append(f'<span class="best">{text}</span>' if best is not None and value == best else text)
            rows.append(_row(cells))
    yield from _table(["", *(escape(report.label(method)) for method in methods)], rows)


def _curve(result: Mapping[str, Any]) -> Iterator[str]:
    lines = [Line(method["name"][:30], method["curve"]) for method in result["methods"] if method["curve"]]
    known = [value for line in lines for value in line.values if value is not None]
    if not known:
        return
    yield "<h2>Iterations</h2>"
    room = 0.1 * (max(known) - min(known)) or 0.5
    picture = plot(lines, low=min(known) - room, high=max(known) + room)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    yield _figure(f"EPE in px after each iteration, {report.mask(result)}", stream.getvalue())


def _each(result: Mapping[str, Any]) -> Iterator[str]:
    """Every pair, worst of the first method first: a drawing of all, then a table."""
    metric, about = next(iter(result["metrics"].items()))
    columns = [method["each"][metric] for method in result["methods"]]
    order = sorted(range(len(columns[0])), key=lambda i: -1.0 if columns[0][i] is None else columns[0][i], reverse=True)
    yield f"<h2>Pair by pair: {escape(metric)} [{about['unit']}]</h2>"
    names, heads = result["data"]["names"], [escape(report.label(method)) for method in result["methods"]]
    yield from _drawing(heads, [[column[i] for i in order] for column in columns])
    rows = []
    for i in order[:ROWS]:
        values = [column[i] for column in columns]
        best, cells = _best(values, metric), [escape(names[i] or str(i))]
        for value in values:
            text = report.number(value, about["unit"])
            cells.append(f'<span class="best">{text}</span>' if best is not None and value == best else text)
        rows.append(cells)
    yield "<details><summary>All pairs as a table</summary>"
    yield from _table(["", *heads], rows)
    yield "</details>"


def _drawing(
    heads: Sequence[str], columns: Sequence[Sequence[float | None]], wide: int = 900, high: int = 220
) -> Iterator[str]:
    """Dots over the pairs in order, a colour per method, as SVG below a legend."""
    tints = ["#{:02x}{:02x}{:02x}".format(*COLOURS[place % len(COLOURS)]) for place in range(len(columns))]
    legend = (f'<span style="color:{tint}">● {head}</span>' for tint, head in zip(tints, heads, strict=True))
    yield f"<p>{' &nbsp; '.join(legend)}</p>"
    most = max((value for column in columns for value in column if value is not None), default=0.0) or 1.0
    yield f'<svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img">'
    for share in (0.0, 0.5, 1.0):
        y = high - 20 - share * (high - 30)
        yield f'<line x1="45" x2="{wide}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
        yield f'<text x="40" y="{y + 4:.0f}" text-anchor="end" font-size="11">{share * most:.3g}</text>'
    for tint, column in zip(tints, columns, strict=True):
        for i, value in enumerate(column):
            if value is not None:
                x, y = 52 + i * (wide - 60) / max(len(column) - 1, 1), high - 20 - value / most * (high - 30)
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{tint}"/>'
    yield "</svg>"


def _worst(shown: Sequence[Shown], result: Mapping[str, Any]) -> Iterator[str]:
    if shown:
        yield f"<h2>Worst pairs of {escape(_first(result))}</h2>"
    for one in shown:
        yield f"<h3>{escape(one.name or str(one.index))}</h3>"
        yield "".join(_figure(caption, data) for caption, data in one.pictures)


def _made(result: Mapping[str, Any]) -> Iterator[str]:
    """How it was made: the protocol in full, methods, versions, command."""
    yield "<h2>How it was made</h2>"
    run, protocol = result["run"], result["protocol"] or {}
    facts = [(key, value) for key, value in protocol.items() if key not in ("about", "source")]
    for method in result["methods"]:
        weights = f", sha256 {method['sha256']}" if method["sha256"] else ""
        steps = f", {method['iterations']} iterations" if method["iterations"] else ""
        spent = f"{run['median_ms'][method['name']]:.0f} ms per pair"
        facts.append((method["name"], f"{method['kind']}: {method['spec']}{steps}{weights}, {spent}"))
    facts += [(key, run[key]) for key in ("command", "date", "commit", "device", "processes")]
    facts += list(run["versions"].items())
    yield from _table(["", ""], [[escape(str(key)), f"<code>{escape(str(value))}</code>"] for key, value in facts])


def _first(result: Mapping[str, Any]) -> str:
    return result["methods"][0]["name"]


def _best(values: Sequence[float | None], metric: str) -> float | None:
    """The best of several figures, None where there is none to prefer."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(set(known)) == 1:
        return None
    return max(known) if metric == "density" else min(known)


def _between(ends: Sequence[float] | None, unit: str) -> str:
    return "" if ends is None else f"[{report.number(ends[0], unit)}, {report.number(ends[1], unit)}]"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _small(notes: Iterable[str]) -> str:
    return "".join(f"<small>{note}</small>" for note in notes if note)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str] | str]) -> Iterator[str]:
    """Rows of cells that are HTML already."""
    yield "<table><thead><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead><tbody>"
    yield from (row if isinstance(row, str) else _row(row) for row in rows)
    yield "</tbody></table>"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _figure(caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="" src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
