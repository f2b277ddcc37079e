"""A delta: a checkpoint that stores only the tensors in which it differs from another, its base, which is whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from polzoo import weights
from polzoo.config import CONFIG, WEIGHTS, Base, Config, DiskType, config_text, read_alias, read_config
from polzoo.errors import PolzooError
from polzoo.names import beside, find


def tensors(config: Config, folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, those that a delta leaves out from its base."""
    if WEIGHTS not in config.sha256:
        raise PolzooError(f"{folder / CONFIG} holds no sha256 of {WEIGHTS}")
    stored = weights.read(folder, WEIGHTS, config.sha256[WEIGHTS])
    if config.base is None:
        return stored
    there, where = beside(folder, config.base.name, "delta"), f"{folder} is a delta of {config.base.name!r}"
    base = None if read_alias(there) is not None else read_config(there)
    if base is None or base.base is not None:
        raise PolzooError(f"{where}, which is {'an alias' if base is None else 'a delta itself'}; a base is whole")
    if base.sha256.get(WEIGHTS) != config.base.sha256:
        found = str(base.sha256.get(WEIGHTS))
        raise PolzooError(f"{where}, whose weights have changed: {found[:12]}…, not {config.base.sha256[:12]}…")
    joined = {**weights.read(there, WEIGHTS, config.base.sha256), **stored}
    if _digest(weights.pack(joined)) != config.base.joined:
        raise PolzooError(f"{where}; the two together are not what its {CONFIG} describes")
    return joined


def whole(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint that are others when it is written without a base, by name; none unless it is a delta.

    Raises:
        PolzooError: a base that is not there or has changed, or tensors that are not as they were written.
    """
    config = read_config(folder)
    if config.base is None:
        return {}
    hashes = {**config.sha256, WEIGHTS: config.base.joined}
    alone = config.model_copy(update={"base": None, "sha256": hashes})
    return {CONFIG: config_text(alone).encode(), WEIGHTS: weights.pack(tensors(config, folder))}


@dataclass(frozen=True)
class Shared:
    """The base of a delta that is being written."""

    name: str
    sha256: str
    dtype: DiskType
    tensors: Mapping[str, Tensor]

    @classmethod
    def open(cls, name: str, target: Path, dtype: str | None) -> Shared:
        folder = find(name)
        if read_alias(folder) is not None:
            raise PolzooError(f"{name!r} is an alias, so it is no base; name the checkpoint with the tensors")
        config = read_config(folder)
        if config.base is not None:
            raise PolzooError(f"{name!r} is a delta itself, so it is no base; take that of {config.base.name!r}")
        if Path(os.path.realpath(folder)) == target:
            raise PolzooError(f"{target} cannot be its own base")
        if dtype not in (None, config.dtype):
            raise PolzooError(f"a delta is stored in its base's type, {config.dtype}; leave out dtype={dtype!r}")
        return cls(name_for(name, folder, target), config.sha256[WEIGHTS], config.dtype, tensors(config, folder))

    def leave_out(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return weights.differing(tensors, self.tensors, repr(self.name))

    def block(self, tensors: Mapping[str, Tensor]) -> Base:
        return Base(name=self.name, sha256=self.sha256, joined=_digest(weights.pack(tensors)))


def name_for(name: str, folder: Path, by: Path) -> str:
    """What the checkpoint ``by`` is to call another one: its bare name where they lie together."""
    real = Path(os.path.realpath(folder))
    if real.parent == by.parent:
        return real.name
    path = name.startswith("dir:") or ("/" in name and not name.startswith("hf:") and Path(name).exists())
    return f"dir:{real}" if path else name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
