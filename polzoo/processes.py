"""The processes of one run, as torchrun or ``accelerate launch`` start them."""

from __future__ import annotations

import os

from accelerate import PartialState
from torch.distributed.distributed_c10d import PrefixStore, init_process_group, is_initialized
from torch.distributed.rendezvous import rendezvous


def join(cpu: bool) -> PartialState:
    """This process among those of the run, over gloo where ``cpu``, else as accelerate chooses.

    torchrun keeps one store over all its restarts, and newer torch does not set apart what each attempt wrote: a
    process started anew can find the address of one that is dead and wait for it for half an hour. So after a restart
    the processes meet under keys of their own.
    """
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if attempt and int(os.environ.get("WORLD_SIZE", "1")) > 1 and not is_initialized():
        store, rank, world = next(rendezvous("env://"))
        store = PrefixStore(f"attempt-{attempt}", store)
        init_process_group("gloo" if cpu else "nccl", store=store, rank=rank, world_size=world)
    return PartialState(cpu=cpu)
