"""What holds of a checkpoint that a plugin registers."""

from __future__ import annotations

from polzoo import checkpoint
from polzoo.testing.contract import require, rule, skip
from polzoo.testing.subjects import Component


@rule("checkpoint")
def verifies(component: Component) -> None:
    """A checkpoint's folder is whole: hashes, config, plugins and the recorded output are right.

    ``polzoo verify NAME`` shows the same.
    """
    if component.entry.folder() is None:
        skip(f"it is on the Hub ({component.entry.target}): load it once, then run polzoo verify {component.entry.key}")
    report = checkpoint.verify(component.entry.key)
    wrong = [f"{one.name}: {one.detail}" for one in report.checks if not one.ok]
    require(report.ok and not wrong, "; ".join(wrong) or "it does not verify")
