"""Half precision is raised, double precision stays."""

import pytest
import torch

from polzoo.precision import at_least_float32, full_precision


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_at_least_float32(given, wanted):
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == wanted


def test_full_precision_ends_autocast():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x):
            assert (x @ x).dtype == torch.float32
