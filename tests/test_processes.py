"""The processes of a run find each other, the first time and after torchrun started them anew."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

import polzoo

JOIN = """
import polzoo.processes as processes
state = processes.join(cpu=True)
state.wait_for_everyone()
print(state.process_index, state.num_processes)
"""


def start(rank: int, attempt: int, port: int) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(polzoo.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": str(attempt),
    }
    return subprocess.Popen([sys.executable, "-c", JOIN], stdout=subprocess.PIPE, text=True, env=environment)


def meet(first: int, attempt: int, port: int, apart: float = 0) -> list[str]:
    """What both say that they joined; ``first`` starts ``apart`` seconds before the other."""
    started = [start(first, attempt, port)]
    try:
        time.sleep(apart)
        started.append(start(1 - first, attempt, port))
        return sorted(process.communicate(timeout=60)[0].strip() for process in started)
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_after_a_restart_nobody_waits_for_the_dead(first):
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    assert meet(first, 0, store.port) == ["0 2", "1 2"]
    assert meet(first, 1, store.port, apart=12) == [
        "0 2",
        "1 2",
    ]  # alone, it would take what attempt 0 left for an answer
