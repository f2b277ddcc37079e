"""From what masks cost in EPE to the update operator that a checkpoint is published with. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from polzoo.errors import PolzooError
from polzoo.spec import format_part, parse_part

COST = 0.05
"""The share of EPE that leaving pixels out may cost."""

MOST = 0.35
"""The share of pixels, over all iterations, beyond which leaving out the others does not pay."""


class Row(NamedTuple):
    """What one mask costs: the options of ``flashgru``, and EPE over the dense model's, less 1."""

    importance: str
    density: float
    dense_steps: int
    cost: float


def refined(row: Row, iterations: int) -> float:
    """Share of the pixels that is refined, over all iterations: the dense first ones count in full."""
    first = min(row.dense_steps, iterations)
    return (first + (iterations - first) * row.density) / iterations


def execution(rows: Iterable[Row], iterations: int) -> str:
    """The update operator that suits a checkpoint, as spec text: of what costs at most :data:`COST` the one that
    refines the fewest pixels (of equals, the cheapest), or ``dense`` where that is more than :data:`MOST`.

    Args:
        rows: measured with the checkpoint's own weights and ``iterations``.

    Raises:
        PolzooError: no row, which says nothing either way.
    """
    rows = list(rows)
    if not rows:
        raise PolzooError(f"no mask was measured at {iterations} iterations, so none can be chosen or ruled out")
    able = [row for row in rows if row.cost <= COST and refined(row, iterations) <= MOST]
    if not able:
        return "dense"
    row = min(able, key=lambda row: (refined(row, iterations), row.cost))
    options = f'density={row.density},importance="{row.importance}",dense_steps={row.dense_steps}'
    return format_part("update", parse_part("update", f"flashgru({options})"))
