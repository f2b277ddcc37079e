"""Is a data set what it says it is? Every pair is read and looked at, and compared with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from polzoo.data.check_copies import Copies
from polzoo.data.check_polarity import CLEAR, brighter
from polzoo.data.check_truth import check_truth
from polzoo.data.check_values import check_frame, check_values
from polzoo.data.sample import Sample
from polzoo.errors import one_line
from polzoo.pair_check import check_pair
from polzoo.settings import POLARITY

if TYPE_CHECKING:
    from polzoo.interfaces import Dataset

KINDS = {
    "refused": "the data set does not hand the pair out: unreadable, cut off, sizes that differ, …",
    "shape": "arrays of a pair whose sizes differ",
    "values": "NaN, infinite, or out of range",
    "blank": "a view of one colour",
    "same": "one picture for both views",
    "mask": "a mask that is empty, covers everything, or contradicts the disparity",
    "sign": "disparities of the wrong sign",
    "scale": "disparities in another unit",
    "shift": "disparities too large or too small by some pixels",
    "swapped": "left and right exchanged",
    "rows": "a pair that is not rectified",
    "unrelated": "disparities that fit the views in no way",
    "polarity": "analysers the other way round",
    "copy": "a pair that is there twice",
}
"""What can be wrong."""

NOTES = {
    "untold": "something that could not be checked",
    "alike": "a pair that looks like another one",
    "empty": "a glass mask that is empty in every pair",
    "look": "what a pair without true disparity looks like",
}
"""What is worth knowing and no reason to call a data set wrong."""


class Finding(NamedTuple):
    """One line about pair ``index``, or about the whole data set (None)."""

    kind: str
    text: str
    index: int | None = None
    name: str = ""

    @property
    def problem(self) -> bool:
        return self.kind in KINDS


@dataclass
class Report:
    """What was found. ``fits``: index → how well the stored truth fits, see ``polzoo.data.check_truth``."""

    pairs: int
    findings: list[Finding] = field(default_factory=list)
    fits: dict[int, float] = field(default_factory=dict)

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.problem]

    @property
    def notes(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.problem]


Progress = Callable[[Iterable[int], int], Iterable[int]]


def check(dataset: Dataset, *, limit: int | None = None, progress: Progress | None = None) -> Report:
    """Look at the first ``limit`` pairs (all by default). Memory stays flat but for 1 kB a pair.

    Args:
        progress: wraps the iteration over the indices (their iterable and number), to show how far it is.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    report, copies, cameras = Report(count), Copies(), _Cameras()
    names, glass = dict[int, str](), list[bool]()
    for index in progress(range(count), count) if progress else range(count):
        try:
            sample = dataset[index]
        except Exception as error:  # a data set of a plugin may raise anything: it is a finding, not the end
            report.findings.append(Finding("refused", one_line(error), index))
            continue
        names[index] = sample.name
        wrong = list(check_values(sample))
        report.findings += [Finding(*complaint, index, sample.name) for complaint in wrong]
        if any(kind in ("shape", "values", "blank", "same") for kind, _ in wrong):
            continue
        copies.add(index, sample)
        if sample.glass is not None:
            glass.append(bool(sample.glass.any()))
        if _fits(report, index, sample):
            report.findings += [Finding(*complaint, index, sample.name) for complaint in check_frame(sample)]
            cameras.add(index, sample)
    report.findings += _twice(copies, names)
    report.findings += cameras.findings(names)
    if glass and not any(glass):
        report.findings.append(Finding("empty", "the mask glass is empty in every pair"))
    return report


def _twice(copies: Copies, names: dict[int, str]) -> Iterator[Finding]:
    for index, of, exact in copies.found():
        kind, what = ("copy", "is") if exact else ("alike", "looks like")
        yield Finding(kind, f"{what} pair {of} {names[of]!r} again", index, names[index])


def _fits(report: Report, index: int, sample: Sample) -> bool:
    """Add what warping says of a pair's truth; whether the truth fits."""
    if sample.disparity is None:
        seen = check_pair(sample.left, sample.right)
        report.findings += [Finding("look", text, index, sample.name) for text in seen]
        return False
    if sample.valid is not None and not sample.valid.any():
        return False
    verdict = check_truth(sample)
    if verdict.stored is None:
        report.findings.append(Finding("untold", "too little texture to check the truth by", index, sample.name))
        return False
    report.fits[index] = verdict.stored
    if verdict.change is not None:
        fits = f"(agreement {verdict.stored:.2f}" + (f", else {verdict.best:.2f})" if verdict.best else ")")
        report.findings.append(Finding(verdict.change.kind, f"{verdict.change.text} {fits}", index, sample.name))
    return verdict.change is None


class _Cameras:
    """Which camera's glass is brighter, over all pairs of one polarity: single pairs may mislead."""

    def __init__(self) -> None:
        self.votes: dict[float, list[tuple[int, float | None]]] = {}

    def add(self, index: int, sample: Sample) -> None:
        if sample.polarity:
            found = brighter(sample)
            vote = None if found is None else sample.polarity * found
            self.votes.setdefault(sample.polarity, []).append((index, vote))

    def findings(self, names: dict[int, str]) -> Iterator[Finding]:
        for polarity, votes in self.votes.items():
            said = next(name for name, sign in POLARITY.items() if sign == polarity)
            against = [index for index, vote in votes if vote is not None and vote < -CLEAR]
            agree = sum(vote is not None and vote > CLEAR for _, vote in votes)
            if len(against) > 3 * agree:
                text = f"glass is brighter in the camera whose analyser should be crossed ({said})"
                yield Finding("polarity", f"{text}: in {len(against)} of {len(against) + agree} pairs that tell")
            elif agree == 0:
                yield Finding("untold", f"no pair has glass enough to check the analysers by ({said})")
            else:
                for index in against:
                    text = f"its glass speaks against {said}, as that of {agree} others does not"
                    yield Finding("untold", text, index, names[index])


def as_json(report: Report, data: str = "") -> dict[str, Any]:
    """The report as a JSON-able object: what ``polzoo data check --json`` prints."""
    levels = {True: "problem", False: "note"}
    fits = sorted(report.fits.values())
    return {
        "format": 1,
        "data": data,
        "pairs": report.pairs,
        "problems": len(report.problems),
        "notes": len(report.notes),
        "agreement": {"pairs": len(fits), "least": fits[0], "median": fits[len(fits) // 2]} if fits else None,
        "findings": [
            {"level": levels[f.problem], "kind": f.kind, "pair": f.index, "name": f.name, "text": f.text}
            for f in report.findings
        ],
    }
