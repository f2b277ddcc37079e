"""From the records of all pairs to the figures of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polzoo.evaluation import report
from polzoo.evaluation.averages import Tally, bootstrap, interval
from polzoo.evaluation.measure import Record
from polzoo.evaluation.protocol import Protocol
from polzoo.evaluation.regions import REGIONS

if TYPE_CHECKING:
    from polzoo.interfaces import Metric

Tallies = dict[tuple[str, str], Tally]


class Summary:
    """The figures of every method. Attributes:

    regions: region → in how many pairs it has pixels (``pairs``), is ``empty`` or ``unknown``; only those that are
        known in at least one pair.
    methods: per method, in the order of the records, what a result says of it besides its name.
    """

    def __init__(self, records: Sequence[Record], metrics: Sequence[Metric], protocol: Protocol) -> None:
        self.records, self.metrics, self.protocol = records, metrics, protocol
        self.weights = [protocol.weight(record["name"]) for record in records]
        self.draws = bootstrap(len(records))
        self.regions = {name: counts for name in REGIONS if (counts := self._counts(name))["unknown"] < len(records)}
        tallies = [self._tallies(place) for place in range(len(records[0]["methods"]))]
        self.methods = [self._figures(place, own, tallies[0]) for place, own in enumerate(tallies)]

    def _counts(self, region: str) -> dict[str, int]:
        sizes = [record["regions"].get(region) for record in self.records]
        return {"pairs": sum(bool(size) for size in sizes), "empty": sizes.count(0), "unknown": sizes.count(None)}

    def _tallies(self, place: int) -> Tallies:
        """(region, label) → the tally of the method at ``place``, with an entry for every pair."""
        found: Tallies = {}
        for metric in self.metrics:
            finish, per_pair = getattr(metric, "finish", None), getattr(metric, "per_pair", False)
            for name in self.regions:
                tally = found[name, metric.label] = Tally(metric.unit, finish, per_pair, self.weights)
                for record in self.records:
                    tally.add(*record["methods"][place]["sums"].get(name, {}).get(metric.label, (0.0, 0)))
        return found

    def _figures(self, place: int, own: Tallies, first: Tallies) -> dict[str, Any]:
        mask, entries = self.protocol.mask, [record["methods"][place] for record in self.records]
        regions: dict[str, Any] = {name: {} for name in self.regions}
        for (name, label), tally in own.items():
            drawn = tally.drawn(self.draws, self.protocol.averaging)
            regions[name][label] = {**tally.result(), "interval": interval(drawn)}
        labels = [metric.label for metric in self.metrics]
        found = {"regions": regions, "each": {label: own[mask, label].each() for label in labels}}
        if place:
            found["difference"] = {label: self._difference(own[mask, label], first[mask, label]) for label in labels}
        found["curve"] = None if any(entry["curve"] is None for entry in entries) else self._curve(entries)
        scores = [entry["auc"] for entry in entries if entry["auc"] is not None]
        found["gate_auc"] = {"mean": sum(scores) / len(scores), "pairs": len(scores)} if scores else None
        return found

    def _difference(self, own: Tally, first: Tally) -> dict[str, Any]:
        """A method's figure minus the first one's, over the same draws of the pairs."""
        averaging = self.protocol.averaging
        a, b = (report.headline(tally.result(), averaging) for tally in (own, first))
        drawn = own.drawn(self.draws, averaging) - first.drawn(self.draws, averaging)
        return {"value": None if a is None or b is None else a - b, "interval": interval(drawn)}

    def _curve(self, entries: Sequence[Record]) -> list[float | None]:
        """The headline average of the EPE after each iteration."""
        found = []
        for steps in zip(*(entry["curve"] for entry in entries), strict=True):
            tally = Tally("px", weights=self.weights)
            for total, count in steps:
                tally.add(total, count)
            found.append(report.headline(tally.result(), self.protocol.averaging))
        return found
