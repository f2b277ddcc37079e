"""How much memory one inference takes: the peak of live tensors, counted on a run or on shapes alone."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polzoo.model import StereoModel
from polzoo.options import Options
from polzoo.updates.dense import Dense


class Memory(NamedTuple):
    """Bytes of one inference; ``activations`` is the peak of live tensors besides weights and the pair itself."""

    weights: int
    activations: int


def estimate(model: StereoModel, height: int, width: int) -> Memory:
    """Memory of one inference, batch 1, float32, under dense execution.

    Shapes alone are run through the model, so this takes a second at any size. What it leaves out: a kernel's own
    workspace (cuDNN's can exceed 100 MB), the allocator's fragmentation and the framework itself. What a sparse
    operator allocates depends on the image, so it is not estimated; the model is run densely.

    Raises:
        Exception: whatever a component raises that reads values of tensors, which are not there.
    """
    weights, dense = size(model.state_dict().values()), model.with_operator(model.spec, Dense(Options())).eval()
    with FakeTensorMode() as mode:  # unlike on the device "meta", attention takes the kernel that it takes on a CPU
        memo: dict[int, Any] = {id(x): mode.from_tensor(x) for x in (*dense.parameters(), *dense.buffers())}
        shapes = copy.deepcopy(dense, memo)
        views = [torch.zeros(1, 3, height, width) for _ in range(2)]
        return Memory(weights, peak(lambda: shapes(*views, iterations=2)))


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


def peak(run: Callable[[], object], device: torch.device | None = None) -> int:
    """Most bytes that ``run()`` has live at once, besides what was there before; no gradients are kept.

    On a CUDA ``device`` the allocator says it, kernels' workspace included. Elsewhere storages are counted as
    operations make them; that a kernel allocates more inside is not seen.
    """
    with torch.no_grad():
        if device is None or device.type != "cuda":
            with LivePeak() as counter:
                run()
            return counter.most
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before


class LivePeak(TorchDispatchMode):
    """Counts the storages that operations make, each until nothing refers to it: bytes ``live`` now and at ``most``."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.most = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(x) for x in tree_leaves((args, kwargs)) if _has_storage(x)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if _has_storage(x) and _key(x) not in given and _key(x) not in self._known:
                self._add(x)
        self.most = max(self.most, self.live)
        return out

    def _add(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        key, nbytes = _key(x), storage.nbytes()
        self._known.add(key)
        self.live += nbytes
        weakref.finalize(storage, self._drop, key, nbytes).atexit = False

    def _drop(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.live -= nbytes


def _has_storage(x: object) -> bool:
    """Whether it is a tensor whose memory is seen; oneDNN's own layout of a weight is not."""
    return isinstance(x, Tensor) and not x.is_mkldnn


def _key(x: Tensor) -> int:
    return x.untyped_storage()._cdata
