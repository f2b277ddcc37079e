import pytest

from polzoo.testing import checks


@pytest.mark.parametrize("check", checks("fusion", "eac"))
def test_contract(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("check", [c for c in checks("fusion", "eac", slow=True) if c.rule.slow])
def test_compiles_and_exports(check):
    check()
