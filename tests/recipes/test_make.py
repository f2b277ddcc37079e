"""From a config to a data set: what the shares of a mixture are."""

from __future__ import annotations

import pytest

from polzoo.errors import PolzooError
from polzoo.recipes.config import TrainingConfig
from polzoo.recipes.make import make_dataset

ONE, OTHER = (f"synthetic(length={n},height=32,width=64,max_disparity=16.0)" for n in (2, 4))


def length(*data: str) -> int:
    return len(make_dataset(TrainingConfig(name="mix", model="raft-lite", data=data, steps=1)))  # pyright: ignore


def test_shares_and_what_has_none() -> None:
    assert length(ONE, OTHER) == 6, "without any share, the plain union"
    assert length(f"{ONE}*1", f"{OTHER}*2") == 6 and length(f"{ONE}*3", OTHER) == 16, "one without a share has 1"


@pytest.mark.parametrize("share", ["0", "-1", "nan", "inf"])
def test_a_share_that_draws_nothing_is_refused(share: str) -> None:
    with pytest.raises(PolzooError, match=f"a weight in a mixture must be a number above 0, not {share}"):
        length(f"{ONE}*{share}", f"{OTHER}*1")
