"""Several processes of one evaluation, as torchrun or ``accelerate launch`` start them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple


class Processes(NamedTuple):
    """This process among those of the run; ``device`` is where its models go."""

    rank: int
    count: int
    device: str

    @classmethod
    def join(cls, device: str) -> Processes:
        """The processes that the environment tells of; alone, nothing is imported.

        Pairs are independent, so all that is shared are records at the end, over gloo or NCCL as accelerate chooses.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(0, 1, device)
        from polzoo import processes

        state = processes.join(cpu=device == "cpu")
        return cls(state.process_index, state.num_processes, str(state.device) if device == "cuda" else device)

    def gather(self, found: list[Any]) -> list[Any]:
        """What all processes found, in every one of them."""
        if self.count == 1:
            return found
        from accelerate.utils import gather_object

        return gather_object(found)
