"""What every component must satisfy, for whoever writes one.

::

    import pytest
    from polzoo.testing import checks

    @pytest.mark.parametrize("check", checks("fusion", "my-fusion"))
    def test_contract(check):
        check()

or, without pytest, ``check_component("fusion", "my-fusion")``. A part of a model is checked in every combination with
what is installed. A failed check says what the contract demands, what happened and where to look; one that does not
apply is skipped with its reason. polzoo's own components pass the same checks in tests/contract.
"""

from polzoo.testing import (  # noqa: F401  they fill the table of rules
    backbones,
    baselines,
    checkpoints,
    datasets,
    fusions,
    graphs,
    importances,
    metrics,
    models,
    recipes,
    updates,
)
from polzoo.testing.contract import Check, NotApplicable, Result, all_checks, check_component, checks
from polzoo.testing.sites import SomeSites

__all__ = ["Check", "NotApplicable", "Result", "SomeSites", "all_checks", "check_component", "checks"]
