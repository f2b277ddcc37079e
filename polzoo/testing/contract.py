"""The machinery of the contract suite: rules by kind, the checks they make of a component, and how a check fails.

A rule is a function of one subject whose docstring says what the contract demands and, in a second paragraph, where
to look when it fails. It raises AssertionError by :func:`require`, or says by :func:`skip` why it does not apply.
"""

from __future__ import annotations

import inspect
import itertools
import time
import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from polzoo.components import Entry, kind_of
from polzoo.errors import one_line
from polzoo.registry import registry
from polzoo.spec import MODEL_KINDS
from polzoo.testing.subjects import Combination, Component


class NotApplicable(unittest.SkipTest):
    """A check that says nothing about this component, with the reason; pytest and unittest report it as skipped."""


class Rule(NamedTuple):
    """One demand of the contract: ``run(subject)`` raises where it is not met."""

    name: str
    demand: str
    look: str
    run: Callable[[Any], None]
    slow: bool = False


RULES: dict[str, list[Rule]] = {}
"""Kind of component, or "model" for what holds of every combination of three → its rules."""


def rule(kind: str, *, slow: bool = False) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Make a function a rule of this kind; its docstring is the demand and, after an empty line, where to look."""

    def add(run: Callable[[Any], None]) -> Callable[[Any], None]:
        demand, _, look = (" ".join(part.split()) for part in inspect.cleandoc(run.__doc__ or "").partition("\n\n"))
        RULES.setdefault(kind, []).append(Rule(run.__name__.replace("_", "-"), demand, look, run, slow))
        return run

    return add


def require(condition: object, happened: str) -> None:
    """Fail the check, saying what happened instead of what the contract demands."""
    if not condition:
        raise AssertionError(happened)


def skip(reason: str) -> NoReturn:
    """Leave the check: it does not apply, for a reason in words."""
    raise NotApplicable(reason)


@dataclass(frozen=True)
class Check:
    """One rule and one subject. Call it: it returns, raises :class:`NotApplicable` or raises AssertionError."""

    rule: Rule
    component: str
    subject: Any

    @property
    def __name__(self) -> str:  # what pytest calls a parameter by
        return f"{self.rule.name}-{self.subject}"

    def __str__(self) -> str:
        return self.__name__

    def __call__(self) -> None:
        try:
            self.rule.run(self.subject)
        except NotApplicable as reason:
            if not str(reason).strip():
                raise AssertionError(self._sentence("the check was skipped without a reason")) from None
            raise
        except AssertionError as failure:
            raise AssertionError(self._sentence(str(failure))) from failure
        except Exception as error:
            raise AssertionError(self._sentence(f"it raised {one_line(error)}")) from error

    def _sentence(self, happened: str) -> str:
        """What the contract demands, what happened, and where to look."""
        on = f" in {self.subject}" if isinstance(self.subject, Combination) else ""
        where = f" {self.rule.look}" if self.rule.look else ""
        return f"{self.component} fails {self.rule.name!r}{on}: {self.rule.demand} But {happened}.{where}"


class Result(NamedTuple):
    """How one check ended: ``reason`` is why it was skipped, else empty."""

    check: Check
    reason: str
    seconds: float


def checks(kind: str, name: str, *, options: Mapping[str, Any] | None = None, slow: bool = False) -> list[Check]:
    """Everything the contract demands of one component, as parameters of a test.

    Args:
        kind: ``"fusion"``, ``"backbone"``, …; a part of a model is checked in every combination it can be part of.
        name: as it is registered.
        options: of the component, on top of its ``tiny`` ones.
        slow: compiling and exporting too, which takes seconds for each combination.

    Raises:
        PolzooError: no such component.
    """
    entry, given = registry().get(kind_of(kind), name), dict(options or {})
    if entry.kind not in MODEL_KINDS:
        return _of(entry.kind, Component(entry, given), slow, str(entry))
    models = _combinations({**_parts(), entry.kind: [entry]}, {entry.kind: given})
    own = (model for model in models if _is_own(model, entry.kind))
    found = [check for model in own for check in _of(entry.kind, model, slow, str(entry))]
    return found + [check for model in models for check in _of("model", model, slow, str(entry))]


def all_checks(distribution: str | None = None, *, slow: bool = False) -> list[Check]:
    """The checks of every registered component (of one distribution), each combination of parts once."""
    found: list[Check] = []
    for entry in registry().entries():
        if entry.kind not in MODEL_KINDS and distribution in (None, entry.distribution):
            found += _of(entry.kind, Component(entry, {}), slow, str(entry))
    for model in _combinations(_parts(distribution), {}):
        for kind in MODEL_KINDS:
            if _is_own(model, kind):
                found += _of(kind, model, slow, str(getattr(model, kind)))
        found += _of("model", model, slow, "a model")
    return found


def check_component(
    kind: str, name: str, *, options: Mapping[str, Any] | None = None, slow: bool = False
) -> list[Result]:
    """Run :func:`checks` and return how each ended.

    Raises:
        AssertionError: one line for each check that failed.
    """
    results, failures = [], []
    for check in checks(kind, name, options=options, slow=slow):
        began, reason = time.perf_counter(), ""
        try:
            check()
        except NotApplicable as skipped:
            reason = str(skipped)
        except AssertionError as failure:
            failures.append(str(failure))
        results.append(Result(check, reason, time.perf_counter() - began))
    if failures:
        raise AssertionError("\n".join([f"{len(failures)} of {len(results)} checks failed:", *failures]))
    return results


def _of(kind: str, subject: Combination | Component, slow: bool, component: str) -> list[Check]:
    """The kind's rules on one subject; ``slow`` adds those that take seconds."""
    return [Check(one, component, subject) for one in RULES.get(kind, ()) if slow or not one.slow]


def _parts(distribution: str | None = None) -> dict[str, list[Entry]]:
    """What models can be made of."""
    entries = {kind: registry().entries(kind) for kind in MODEL_KINDS}
    return {k: [e for e in found if distribution in (None, e.distribution)] for k, found in entries.items()}


def _combinations(parts: Mapping[str, list[Entry]], given: Mapping[str, Mapping[str, Any]]) -> list[Combination]:
    product = itertools.product(*(parts[kind] for kind in MODEL_KINDS))
    return [Combination(backbone, fusion, update, given) for backbone, fusion, update in product]


def _is_own(model: Combination, kind: str) -> bool:
    """Whether this is where a part of a kind is checked for itself: on each backbone, the rest its defaults."""
    return model.keeps_defaults(*{"fusion", "update"} - {kind})
