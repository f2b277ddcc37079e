"""Mixtures: exact shares, every pair shown, an order that resumes."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polzoo.data.loader import StepSampler
from polzoo.data.mixture import Mixture
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError


class Numbered:
    """``count`` pairs that carry their set's and their own number."""

    def __init__(self, mark: str, count: int) -> None:
        self.mark, self.count = mark, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return Sample(np.zeros((3, 1, 1), np.float32), np.zeros((3, 1, 1), np.float32), name=f"{self.mark}{index}")


def names(mixture: Mixture) -> list[str]:
    return [mixture[index].name for index in range(len(mixture))]


def test_by_hand() -> None:
    """4 and 3 pairs, 1 : 2: the first needs 4 draws to be shown, so the second gets 8 of 12."""
    found = Counter(names(Mixture([Numbered("a", 4), Numbered("b", 3)], [1, 2])))
    assert found == Counter(a0=1, a1=1, a2=1, a3=1, b0=3, b1=3, b2=2)


def test_without_weights_it_is_the_union() -> None:
    assert names(Mixture([Numbered("a", 2), Numbered("b", 1), Numbered("c", 3)])) == [
        "a0",
        "a1",
        "b0",
        "c0",
        "c1",
        "c2",
    ]


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=5))
def test_shares_are_exact_and_every_pair_is_shown(sets: list[tuple[int, int]]) -> None:
    mixture = Mixture([Numbered(chr(97 + i), count) for i, (count, _) in enumerate(sets)], [w for _, w in sets])
    found, total = Counter(names(mixture)), sum(weight for _, weight in sets)
    for i, (count, weight) in enumerate(sets):
        own = [found[f"{chr(97 + i)}{index}"] for index in range(count)]
        assert min(own) >= 1 and max(own) - min(own) <= 1
        assert abs(sum(own) - Fraction(weight * len(mixture), total)) <= len(sets)  # rounded to whole draws


def test_the_order_is_a_function_of_seed_and_step() -> None:
    """A run that resumes at step 7 draws what one that never stopped draws; two ranks share the pass."""
    mixture = Mixture([Numbered("a", 5), Numbered("b", 50)], [1.0, 3.0])
    whole = list(StepSampler(len(mixture), 4, 3, range(20)))
    assert list(StepSampler(len(mixture), 4, 3, range(7, 20))) == whole[7:]
    assert list(StepSampler(len(mixture), 4, 4, range(20))) != whole
    two = [list(StepSampler(len(mixture), 2, 3, range(20), rank, 2)) for rank in (0, 1)]
    assert [one + other for one, other in zip(*two, strict=True)] == whole


def test_mistakes() -> None:
    few = [Numbered("a", 2), Numbered("b", 2)]
    for weights in ([1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]):
        with pytest.raises(PolzooError, match="weight"):
            Mixture(few, weights)
    with pytest.raises(PolzooError, match="mixture"):
        Mixture([])
    with pytest.raises(PolzooError, match="draws"):
        Mixture([Numbered("a", 10**6), Numbered("b", 1)], [1e-6, 1])
    mixture = Mixture(few)
    for index in (-1, 4):
        with pytest.raises(IndexError):
            mixture[index]
