"""Publishing and fetching a 20 MB checkpoint beside the bare client, over a Hub on 127.0.0.1 in a process of its own.

    python benchmarks/hub.py [--rounds 11] [--out benchmarks/results/hub.json]

Five pairs, each measured in turn within a round, the order alternating; the figure is the median of a round's ratio.

* upload: ``hub.contents`` and ``hub.publish`` beside ``create_repo`` and ``upload_folder``, into a new repository
* publish: the same after ``publish.prepare``, which predicts the golden pair anew, as ``polzoo publish`` does
* fetch: ``hub.fetch`` beside ``snapshot_download``, into an empty cache
* load: ``polzoo.load("hf:…")`` beside ``snapshot_download`` and ``polzoo.load(folder)``, with an empty cache
* load again: the same two with what the cache has

Ours hash every file, check the config's seal and compare with the Hub's listing; the bare client does neither.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "hub"))

SPEC = "raft-lite(hidden_dim=168,context_dim=168,feature_dim=256,width=64)"


def serve(connection: Connection) -> None:
    """The Hub's process: say where it is, then forget all large files whenever asked to."""
    from loopback import LoopbackHub  # pyright: ignore[reportMissingImports]

    with LoopbackHub() as hub:
        connection.send(hub.endpoint)
        while connection.recv() == "forget":
            hub.storage.clear()
            connection.send("done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "hub.json")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"HF_ENDPOINT": here.recv(), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_writer"}
        os.environ |= {**settings, "HF_HUB_CACHE": f"{folder}/cache", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        found = measure(Path(folder), here, arguments.rounds)  # imports the client, which reads the environment
    here.send("stop")
    process.join()
    from record import write

    write(found, arguments.out)
    print(arguments.out)


def measure(work: Path, server: Connection, rounds: int) -> dict[str, Any]:
    """Seconds of ours and of the bare client in every round, their medians and the median of the ratios.

    ``cpu`` is the time of this process alone, which a busy machine disturbs little; the Hub's is not in it.
    """
    from record import made

    import polzoo
    from polzoo import checkpoint
    from polzoo.evaluation.machine import load, processor

    folder = checkpoint.save(polzoo.build(SPEC), work / "large")
    size = sum(file.stat().st_size for file in folder.iterdir())
    busy, pairs = load(), {name: (_timed(pair, work, server, rounds)) for name, pair in _pairs(folder, work).items()}
    for name, found in pairs.items():
        shown = (f"{kind} {x['ratio']:.2f} × ({x['ours']:.3f} s, bare {x['bare']:.3f} s)" for kind, x in found.items())
        print(f"{name:11} {'; '.join(shown)}")
    return {
        "what": f"seconds for a checkpoint of {size} bytes, medians of {rounds} rounds; ratio: median of the rounds'",
        "results": pairs,
        "device": processor(),
        "load_average": busy,
        **made(),
    }


Job = Callable[[int], object]


def _pairs(folder: Path, work: Path) -> dict[str, tuple[Job, Job, bool]]:
    """Name → ours, the bare client's, and whether both begin with an empty cache and storage."""
    from huggingface_hub import HfApi, snapshot_download

    import polzoo
    from polzoo import hub
    from polzoo.publish import prepare

    api = HfApi()

    repositories = itertools.count()

    def bare_upload(_: int) -> None:
        repo = f"bare/large-{next(repositories)}"
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=folder)

    def publish(repo: str) -> None:
        hub.publish(prepare(folder, repo), repo)

    hub.publish(hub.contents(folder), "ours/large")
    return {
        "upload": (lambda i: hub.publish(hub.contents(folder), f"ours/upload-{i}"), bare_upload, True),
        "publish": (lambda i: publish(f"ours/publish-{i}"), bare_upload, True),
        "fetch": (lambda _: hub.fetch("ours/large"), lambda _: snapshot_download("ours/large"), True),
        "load": (
            lambda _: polzoo.load("hf:ours/large"),
            lambda _: polzoo.load(f"dir:{snapshot_download('ours/large')}"),
            True,
        ),
        "load again": (
            lambda _: polzoo.load("hf:ours/large"),
            lambda _: polzoo.load(f"dir:{snapshot_download('ours/large')}"),
            False,
        ),
    }


def _timed(pair: tuple[Job, Job, bool], work: Path, server: Connection, rounds: int) -> dict[str, Any]:
    *jobs, anew = pair
    rounds_: list[list[tuple[float, float]]] = [[], []]
    for index in range(rounds + 1):  # the first round only warms up
        for which in (0, 1) if index % 2 else (1, 0):
            if anew:
                shutil.rmtree(work / "cache", ignore_errors=True)
                server.send("forget")
                server.recv()
            start = time.perf_counter(), time.process_time()
            jobs[which](index)
            if index:
                rounds_[which].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {
        what: _compared(*([one[at] for one in side] for side in rounds_)) for at, what in enumerate(("wall", "cpu"))
    }


def _compared(ours: list[float], bare: list[float]) -> dict[str, Any]:
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    medians = {"ours": statistics.median(ours), "bare": statistics.median(bare)}
    return {"ratio": ratio, **medians, "rounds": {"ours": ours, "bare": bare}}


if __name__ == "__main__":
    main()
