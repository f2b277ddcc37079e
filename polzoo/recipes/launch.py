"""Several processes on one machine: what torchrun does, without its pages of traceback when one of them complains."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence

from polzoo.errors import PolzooError


def torchrun(processes: int, arguments: Sequence[str]) -> None:
    """``torchrun --standalone --nproc-per-node N -m polzoo …``; leaving this takes the processes along.

    Raises:
        PolzooError: one of them failed; the others are ended then, and a state to go on from is there.
        SystemExit: this process was asked to end.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # each process says itself what is wrong
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else each warns that it looks for unused parameters
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "polzoo", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise PolzooError(
            f"process {rank} of {processes} ended with code {failure.exitcode}, see above; --resume goes on"
        ) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
