"""Averages and their intervals against straightforward loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polzoo.evaluation.averages import DRAWS, Tally, bootstrap, interval


def tally(pairs: list[tuple[float, int]], **options) -> Tally:
    found = Tally(**options)
    for total, count in pairs:
        found.add(total, count)
    return found


PAIRS = [(3.0, 4), (10.0, 5), (0.0, 0), (1.0, 1)]


@pytest.mark.parametrize("averaging", ["pixels", "pairs"])
@pytest.mark.parametrize(
    "options", [{}, {"unit": "%"}, {"finish": math.sqrt}, {"per_pair": True}, {"weights": [1, 2, 3, 4]}]
)
def test_every_draw_is_the_average_of_the_pairs_in_it(options: dict, averaging) -> None:
    found = tally(PAIRS, **options)
    draws = np.array([[1, 1, 1, 1], [0, 0, 4, 0], [2, 0, 1, 1], [0, 4, 0, 0]], float)
    expected = []
    for draw in draws.astype(int):
        drawn = [i for i, times in enumerate(draw) for _ in range(times)]
        again = tally([PAIRS[i] for i in drawn], **{**options, **chosen(options, drawn)}).result()
        use = "pairs" if options.get("per_pair") else averaging
        expected.append(np.nan if again[use] is None else again[use])
    assert found.drawn(draws, averaging) == pytest.approx(np.array(expected), nan_ok=True)


def chosen(options: dict, drawn: list[int]) -> dict:
    return {"weights": [options["weights"][i] for i in drawn]} if "weights" in options else {}


def test_draws_are_of_so_many_pairs_and_the_same_again() -> None:
    draws = bootstrap(7)
    assert draws.shape == (DRAWS, 7) and (draws.sum(1) == 7).all() and (bootstrap(7) == draws).all()
    assert draws.mean() == pytest.approx(1) and draws.var(0) == pytest.approx(6 / 7, rel=0.15)


def test_an_interval_of_a_mean_is_as_wide_as_statistics_says() -> None:
    """For a mean of n numbers of standard deviation σ it is nearly ± 1.96 σ / √n."""
    values = np.random.default_rng(3).normal(5, 2, 200)
    found = interval(tally([(float(v), 1) for v in values]).drawn(bootstrap(200), "pairs"))
    assert found is not None
    half = 1.96 * values.std() / math.sqrt(200)
    assert found == pytest.approx([values.mean() - half, values.mean() + half], abs=0.15 * half)


def test_an_interval_leaves_out_a_fortieth_at_either_end() -> None:
    assert interval(np.arange(1001.0)) == [25, 975]


def test_of_nothing_there_is_no_interval() -> None:
    assert interval(tally([(0.0, 0)]).drawn(bootstrap(1), "pixels")) is None
    assert interval(tally([(2.0, 1)]).drawn(bootstrap(1), "pixels")) == [2, 2]


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    """One method is always 1 px worse, however much the pairs differ."""
    rng = np.random.default_rng(0)
    easy = [(float(v), 1) for v in rng.uniform(0, 50, 30)]
    one, other = tally(easy), tally([(v + 1, n) for v, n in easy])
    draws = bootstrap(30)
    assert interval(other.drawn(draws, "pairs") - one.drawn(draws, "pairs")) == pytest.approx([1, 1])
