"""The table on the page of fusion strategies: what the code says of each, what ``polzoo bench fusions`` measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polzoo
from polzoo.components import OURS
from polzoo.errors import PolzooError
from polzoo.evaluation import page as marked
from polzoo.evaluation.benchmark_fusions import BACKBONE, NONE, names_of_fusions
from polzoo.evaluation.benchmark_parts import own_hooks
from polzoo.evaluation.benchmark_report import about_run, spread
from polzoo.evaluation.benchmark_result import FusionResult, FusionRow
from polzoo.spec import format_part, parse_part

MARKS = "<!-- table: polzoo bench fusions --page docs/fusions.md -->", "<!-- end of the table -->"
NOT_MEASURED = "not measured yet"

COLUMNS = ("fusion", "steps in", "parameters", "added", "identity at start", "reach")
COSTS = ("CPU time", "wall time", "peak memory")


class Facts(NamedTuple):
    """What the code says of a fusion on :data:`BACKBONE`: cells of the page's table."""

    name: str
    steps_in: str
    parameters: str
    added: str
    identity: str
    reach: str


def facts(name: str) -> Facts:
    """Where a fusion steps in, its parameters, whether it starts as the un-fused model, and how far it sees."""
    model, plain = polzoo.build(f"{BACKBONE}+fusion={name}"), polzoo.build(f"{BACKBONE}+{NONE}")
    fusion, hooks = model.fusion, own_hooks(model.fusion)
    count, base = (sum(p.numel() for p in m.parameters()) for m in (model, plain))
    steps_in = [f"`{hook}`" for hook in hooks if hook != "encode"]
    steps_in += [f"{fusion.passes} passes"] * (fusion.passes > 1)
    reach = "whole map" if fusion.reach is None else str(fusion.reach)
    return Facts(
        name=f"`{name}`",
        steps_in=", ".join(steps_in) or "nowhere",
        parameters=f"{count:,}",
        added=f"{count - base:,}",
        identity="yes" if name == NONE or fusion.identity_at_start else "no",
        reach=reach if "modulate_lookup" in hooks else "–",
    )


def markdown(result: FusionResult | None) -> str:
    """The page's table in Markdown: facts of every fusion of polzoo's own, and its measured costs."""
    rows = {row.name: row for row in result.rows} if result else {}
    lines = ["| " + " | ".join([*COLUMNS, *COSTS]) + " |", "|---" * len([*COLUMNS, *COSTS]) + "|"]
    for name in names_of_fusions(OURS):
        lines.append("| " + " | ".join([*facts(name), *_costs(rows.get(name), rows.get(NONE))]) + " |")
    return "\n".join([*lines, "", *_measured(result)])


def _costs(row: FusionRow | None, none: FusionRow | None) -> Iterator[str]:
    if row is None or none is None or row.cpu is None or row.wall is None or row.peak is None:
        yield from [NOT_MEASURED] * len(COSTS)
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
    marked.around(page, MARKS)


def renew(page: Path, result: FusionResult | None) -> None:
    """Put the table between the page's marks; the rest of the page stays."""
    marked.renew(page, MARKS, markdown(result))
