import pytest

from polzoo.testing import checks

# Every fusion under the dense update, and the others under the plain one; all combinations without the condition.
CHECKS = [
    check
    for check in checks("backbone", "foundation")
    if check.subject.keeps_defaults("update") or check.subject.keeps_defaults("fusion")
]


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [c for c in checks("backbone", "foundation", slow=True) if c.rule.slow and c.subject.keeps_defaults("fusion")],
)
def test_compiles_and_exports(check):
    check()
