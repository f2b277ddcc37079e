"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared machine")  # how long an example takes says nothing there
settings.load_profile("shared machine")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden files and real pairs beside the checkout; a test that asks for it skips without it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (golden files, real pairs), which is not here")
    return SHARED
