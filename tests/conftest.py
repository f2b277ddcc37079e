"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden files and real pairs beside the checkout; a test that asks for it skips without it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (golden files, real pairs), which is not here")
    return SHARED
