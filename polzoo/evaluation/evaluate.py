"""Run methods over a data set and average their errors, region by region.

Every method sees the same pair once. What is kept of a pair are sums over pixels and their number
(:mod:`polzoo.evaluation.measure`), so that both averages, over pixels and over pairs, are exact, and the same whatever
the order, the number of processes, and however often the run was killed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError, home, shorten, unknown
from polzoo.evaluation import report
from polzoo.evaluation.log import Log
from polzoo.evaluation.measure import measure
from polzoo.evaluation.methods import open_methods
from polzoo.evaluation.processes import Processes
from polzoo.evaluation.protocol import Protocol, digest, find, read
from polzoo.evaluation.summary import Summary
from polzoo.options import toml_text
from polzoo.registry import registry
from polzoo.spec import format_part, make_part, parse_part
from polzoo.zoo import instantiate

if TYPE_CHECKING:
    from polzoo.interfaces import Dataset, Metric  # which imports torch: baselines do without

Progress = Callable[[Iterable[int], int], Iterable[int]]


def evaluate(
    methods: Sequence[str],
    dataset: Dataset | Sequence[Sample],
    *,
    data: str = "",
    protocol: Protocol | None = None,
    limit: int | None = None,
    iterations: int | None = None,
    metrics: Sequence[str] | None = None,
    device: str = "cpu",
    command: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Figures of every method on the first ``limit`` pairs (all by default), as one JSON-able table.

    Under torchrun or ``accelerate launch`` the pairs are divided among the processes, and each returns the whole.

    Args:
        methods: checkpoint names, specs (fresh weights), or baselines with options such as
            ``sgbm-filled(block_size=3)``.
        dataset: pairs with true disparity.
        data: what to call the data set in the result.
        protocol: what is compared and how it is averaged; by default every known region, averages over pixels.
        iterations: of the models, where not their own.
        metrics: spec texts of registered metrics; the protocol's by default.
        device: where the models run; with several processes "cuda" gives each a GPU of its own.
        command: what to note as the command; this process's own command line by default.
        out: a folder that remembers finished pairs, so that the same call goes on where a killed one was.
        progress: wraps the iteration over the indices of the pairs (and their number), to show how far it is.

    Returns:
        ``protocol`` (None, or all of it with the hash of its file), ``data`` (with the pairs' names), ``metrics``,
        ``regions`` (of how many ``pairs`` each has pixels, in how many it is ``empty`` or ``unknown``), ``methods``:
        per region and metric the average over ``pixels`` and over ``pairs``, None where nothing was counted (a pair
        without pixels in a region is left out, never 0), and a bootstrap ``interval``; in the protocol's mask ``each``
        pair's own figures, the ``difference`` to the first method with its interval, and the EPE per iteration,
        ``curve``; ``gate_auc``, the mean over the pairs with glass. And ``run``. Everything but ``run`` is the same
        whenever the same is evaluated.

    Raises:
        PolzooError: an unknown method or metric, or a pair without true disparity.
    """
    rules = protocol or Protocol()
    if iterations is not None and rules.iterations == "own":
        raise PolzooError(f"protocol {rules.name!r} runs every model with its own number of iterations")
    processes = Processes.join(device)
    found, measures = open_methods(methods, iterations, processes.device), _metrics(metrics or rules.metrics)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if count < 1:
        raise PolzooError(f"there is no pair to evaluate on in {shorten(data) or 'the data set'}")
    about = _about(protocol)
    what = {"protocol": about, "data": data, "metrics": list(measures), "device": device, "versions": report.versions()}
    what |= _place(dataset)
    log = None if out is None else Log(out, what | {"methods": [one.about() for one in found]}, processes.rank)
    done = {} if log is None else log.read()
    todo = [index for index in range(processes.rank, count, processes.count) if index not in done]
    for index in progress(todo, len(todo)) if progress else todo:
        record = done[index] = measure(index, dataset[index], found, list(measures.values()), rules)
        if log is not None:
            log.write(record)
    everything = {record["index"]: record for record in processes.gather(list(done.values()))}
    records = [everything[index] for index in range(count)]
    summary = Summary(records, list(measures.values()), rules)
    return {
        "protocol": about,
        "data": {"spec": data, "pairs": count, "of": len(dataset), "names": [record["name"] for record in records]},
        "metrics": {metric.label: {"spec": text, "unit": metric.unit} for text, metric in measures.items()},
        "regions": summary.regions,
        "methods": [one.about() | figures for one, figures in zip(found, summary.methods, strict=True)],
        "run": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if command is None else command,
            "commit": commit(),
            "device": device,
            "processes": processes.count,
            "median_ms": {m.name: median(r["methods"][i]["ms"] for r in records) for i, m in enumerate(found)},
            "versions": report.versions(),
        },
    }


def _place(dataset: Dataset | Sequence[Sample]) -> dict[str, str]:
    """Where the files of a data set lie, which its name in a result leaves out: those of another place are others."""
    root = getattr(getattr(dataset, "options", None), "root", None)
    return {} if root is None else {"root": str(home(root).absolute())}


def _about(protocol: Protocol | None) -> dict[str, Any] | None:
    """A protocol as a result notes it; of one that is published with the hash of its file."""
    if protocol is None:
        return None
    sha256 = digest(protocol.name) if protocol == _published(protocol.name) else None
    return {**protocol.model_dump(mode="json"), "sha256": sha256}


def _published(name: str) -> Protocol | None:
    try:
        return read(find(name))
    except PolzooError:
        return None


def commit() -> str | None:
    """The commit of the checkout that polzoo runs from, marked ``+`` where files differ from it; None elsewhere."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    calls = (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        done = [subprocess.run(["git", *call], cwd=here, capture_output=True, text=True, timeout=20) for call in calls]
    except (OSError, subprocess.SubprocessError):
        return None
    return None if any(one.returncode for one in done) else done[0].stdout.strip() + "+" * bool(done[1].stdout)


# ------------------------------------------------------------------------------------------------ names to components


def open_data(text: str) -> tuple[Dataset, str]:
    """A data set from its spec text (``synthetic(seed=9000,length=50)``), a folder or a CSV file; and its full spec.

    Raises:
        PolzooError: nothing of that name, or a folder that is not there or not laid out as expected.
    """
    zoo, path = registry(), home(text)
    name = text.partition("(")[0].strip().removeprefix("dataset=").strip()
    if zoo.find("dataset", name):
        part = parse_part("dataset", text)
        return instantiate("dataset", part), format_part("dataset", part)
    if not os.path.exists(path) and not ("/" in text or "\\" in text or path.suffix.lower() in (".csv", ".toml")):
        error = unknown("data set", name, [entry.key for entry in zoo.entries("dataset")])
        raise PolzooError(f"{error}; a folder or a CSV file of pairs must exist: {shorten(text)!r} does not")
    part = make_part("dataset", "folder", {"path": str(path)})
    return instantiate("dataset", part), format_part("dataset", part)


def open_protocol(name: str, root: str | None = None) -> tuple[Protocol, Dataset]:
    """A published protocol and its data set, which lies in ``root`` where it is one of files.

    Raises:
        PolzooError: no such protocol, a root that is missing or not wanted, or data that are not there.
    """
    protocol = read(find(name))
    if protocol.root != (root is not None):
        wanted = f"needs --data ROOT, the folder of {protocol.data}" if protocol.root else "takes no --data"
        raise PolzooError(f"protocol {name!r} {wanted}")
    return protocol, open_data(protocol.data)[0] if root is None else open_rooted(protocol.data, root)


def open_rooted(spec: str, root: str) -> Dataset:
    """The data set of a spec that leaves its option ``root`` out."""
    name, _, options = spec.partition("(")
    where = f"root={toml_text(str(home(root)))}"
    return instantiate("dataset", parse_part("dataset", f"{name}({where}{',' if options else ')'}{options}"))


def _metrics(texts: Sequence[str]) -> dict[str, Metric]:
    """Canonical text → metric; each label once."""
    parts = {format_part("metric", part): part for part in (parse_part("metric", text) for text in texts)}
    found = {text: instantiate("metric", part) for text, part in parts.items()}
    labels = [metric.label for metric in found.values()]
    for label in labels:
        if labels.count(label) > 1:
            raise PolzooError(f"two metrics are called {label!r}; name one of them")
    return found
