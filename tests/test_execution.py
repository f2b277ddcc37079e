"""Which masks may become a checkpoint's execution: little enough EPE, little enough work."""

import pytest

from polzoo.errors import PolzooError
from polzoo.execution import COST, MOST, Row, execution, refined
from polzoo.spec import parse_part


def test_the_fewest_pixels_within_the_cost_are_taken():
    rows = [
        Row("gradient", 0.1, 0, 0.2),
        Row("gradient", 0.3, 0, 0.01),
        Row("motion", 0.2, 0, COST),
        Row("motion", 0.3, 0, -0.02),
    ]
    options = parse_part("update", execution(rows, 8)).options
    assert (options.importance, options.density, options.dense_steps) == ("motion", 0.2, 0)  # pyright: ignore[reportAttributeAccessIssue]
    assert execution(rows[::-1], 8) == execution(rows, 8)


def test_of_equally_many_the_cheapest_is_taken():
    rows = [Row("gradient", 0.2, 1, 0.04), Row("motion", 0.2, 1, 0.03), Row("gate", 0.2, 1, 0.05)]
    assert 'importance="motion"' in execution(rows, 8)


def test_dense_first_iterations_count_in_full():
    row = Row("gradient", 0.1, 2, 0.0)
    assert [refined(row, n) for n in (8, 4, 2, 1)] == pytest.approx([0.325, 0.55, 1.0, 1.0])
    assert execution([row], 8) != "dense" and execution([row], 4) == "dense"


@pytest.mark.parametrize(
    "row",
    [
        Row("gradient", 0.1, 0, COST + 1e-3),
        Row("gradient", MOST + 1e-3, 0, 0.0),
        Row("gradient", 0.1, 0, float("nan")),
    ],
)
def test_what_costs_too_much_or_saves_too_little_is_dense(row):
    assert execution([row], 8) == "dense"


def test_nothing_measured_decides_nothing():
    with pytest.raises(PolzooError, match="no mask was measured at 4 iterations"):
        execution([], 4)
