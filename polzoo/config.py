"""``config.json`` of a checkpoint folder: what the model is and how it is run. Readable without torch.

The file carries a seal, the sha256 of everything else in it, so that an edit by accident is noticed as damage to the
weights is; :func:`write_config` seals anew after an edit on purpose.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polzoo import cards
from polzoo import spec as specs
from polzoo.errors import PolzooError, shorten
from polzoo.registry import OURS, registry
from polzoo.settings import Settings
from polzoo.spec import ModelSpec, Part

FORMAT = 1
"""Version of the folder's format that is written; no other exists yet."""

CONFIG, WEIGHTS, GOLDEN, RECIPE, CARD, EVAL, PICTURE = (
    "config.json",
    "model.safetensors",
    "golden.safetensors",
    "recipe.toml",
    "README.md",
    "eval.json",
    "demo.png",
)
FILES = (CONFIG, WEIGHTS, GOLDEN, RECIPE, CARD, EVAL, PICTURE)
"""Everything that a checkpoint folder may hold; nothing else is read, downloaded or replaced."""

HASHED = (WEIGHTS, GOLDEN, RECIPE)
"""The files whose hash ``config.json`` holds; card, evaluation and picture may be written later."""

DiskType = Literal["float32", "float16", "bfloat16"]
_MAX_BYTES = 1 << 20
_SHA256 = r"^[0-9a-f]{64}$"


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin(_Block):
    """A distribution that the model needs besides polzoo."""

    distribution: str
    version: str = ""


class Provenance(_Block):
    """Where the weights come from; what is unknown is left out."""

    recipe: str | None = Field(default=None, description="name of the recipe")
    data: str | list[str] | None = Field(default=None, description="data sets it was trained on")
    steps: int | None = Field(default=None, ge=0, description="optimiser steps")
    parent: str | None = Field(default=None, description="checkpoint or official file that it started from")
    seed: int | None = None
    note: str | None = None


class Base(_Block):
    """The checkpoint that a delta shares tensors with: it stores those alone that differ, and is whole with it."""

    name: str = Field(min_length=1, description="a folder beside the delta's, or what `polzoo.load` takes")
    sha256: str = Field(pattern=_SHA256, description="of the base's weights")
    joined: str = Field(pattern=_SHA256, description="of the weights that base and delta are together, written whole")


class Target(_Block):
    """What an alias stands for."""

    name: str = Field(min_length=1, description="a folder beside the alias's, or what `polzoo.load` takes")
    sha256: str = Field(pattern=_SHA256, description="of the target's weights, written whole")


class Alias(_Block):
    """A checkpoint without tensors: another one's under an execution of its own."""

    format: Literal[1] = FORMAT
    polzoo: str = Field(description="version that wrote it")
    summary: str = ""
    licence: str = ""
    alias: Target
    execution: str = Field(description="spec text of the update operator that it is run by")


class Config(_Block):
    """A checkpoint folder in words: everything but the tensors."""

    format: Literal[1] = FORMAT
    polzoo: str = Field(description="version that wrote it")
    summary: str = ""
    licence: str = ""
    model: dict[str, Any] = Field(description="resolved spec with every option")
    settings: Settings = Field(description="iterations, schedule_steps, alpha_cap and the input block")
    execution: str | None = Field(default=None, description="spec text of the update operator that suits it")
    plugins: list[Plugin] = []
    dtype: DiskType = Field(default="float32", description="of floating tensors on disk")
    sha256: dict[Literal["model.safetensors", "golden.safetensors", "recipe.toml"], str]
    base: Base | None = Field(default=None, description="of a delta: where the tensors are that it leaves out")
    provenance: Provenance = Provenance()

    def spec(self) -> ModelSpec:
        """The model's spec; a PolzooError names a missing plugin or component, or an option that is wrong."""
        return specs.from_dict(self.model)

    @property
    def weights_sha256(self) -> str | None:
        """sha256 of all tensors as one file, which is the same whether they are stored as a delta or whole."""
        return self.sha256.get(WEIGHTS) if self.base is None else self.base.joined

    def execution_part(self) -> Part | None:
        """The update operator of the execution block, with its options."""
        return None if self.execution is None else specs.parse_part("update", self.execution)


def read_config(folder: Path) -> Config:
    """The config of a checkpoint folder with tensors, checked against its seal.

    Raises:
        PolzooError: it is missing, not JSON, of a newer format, an alias's, does not fit the schema, or was changed
            after it was written.
    """
    data = raw(folder)
    if "alias" in data:
        raise PolzooError(f"{folder} is an alias and holds no tensors (see polzoo.names.follow)")
    return _sealed(Config, folder, data)


def read_alias(folder: Path) -> Alias | None:
    """The alias that a checkpoint folder holds, None if it is one with tensors.

    Raises:
        PolzooError: as :func:`read_config`.
    """
    data = raw(folder)
    return _sealed(Alias, folder, data) if "alias" in data else None


def _sealed(schema: type[_Read], folder: Path, data: dict[str, Any]) -> _Read:
    file, version = folder / CONFIG, data.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise PolzooError(f"{file} has format {version}, this polzoo reads up to {FORMAT}: pip install -U polzoo")
    sealed = data.pop("seal", None)
    try:
        config = schema.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise PolzooError(f"{file}: {_explain(error)}") from error
    if sealed != _seal(data):
        raise PolzooError(f"{file} was damaged or edited: it does not match its seal (see polzoo.config)")
    return config


def write_config(folder: Path, config: Config | Alias) -> None:
    """Write ``config.json`` with a seal over its content, so that any change to it is noticed."""
    (folder / CONFIG).write_text(config_text(config), encoding="utf-8")


def config_text(config: Config | Alias) -> str:
    """What :func:`write_config` writes."""
    data = config.model_dump(mode="json", exclude_none=True)
    return json.dumps({**data, "seal": _seal(data)}, indent=2, ensure_ascii=False) + "\n"


def raw(folder: Path) -> dict[str, Any]:
    """The JSON object in a folder's ``config.json``, unchecked; a PolzooError if there is none."""
    file = inside(folder, CONFIG)
    if file.stat().st_size > _MAX_BYTES:
        raise PolzooError(f"{file} is larger than {_MAX_BYTES} bytes, so it is no config")
    return cards.config(folder)


def digest(file: Path) -> str:
    """sha256 of a file's content."""
    found = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise PolzooError(f"{file} cannot be read: {error.strerror or error}") from error
    return found.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """A file of a checkpoint folder; a PolzooError if it is missing, no plain file, or a link that leads elsewhere."""
    root = Path(os.path.realpath(folder))  # unlike Path.resolve, this does not raise on a loop
    file, real = root / name, Path(os.path.realpath(root / name))
    if file.is_symlink() and real.parent != root and not _is_cached(root, real):
        raise PolzooError(f"{file} is a link out of its folder; a checkpoint folder holds its own files")
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise PolzooError(f"{folder} has no readable {name}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise PolzooError(f"{file} is not a plain file")
    return file


def is_snapshot(folder: Path) -> bool:
    """Whether a folder is a commit in the Hub's cache, where everything is as somebody else wrote it."""
    root = Path(os.path.realpath(folder))
    return root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--")


def _is_cached(root: Path, real: Path) -> bool:
    """Whether a snapshot's file lies where the Hub's cache puts it: the repository's blobs, or those that all share."""
    repository = root.parent.parent
    return is_snapshot(root) and (
        real.parent == repository / "blobs" or real.parent.parent == repository.parent / "blobs"
    )


def plugins_of(spec: ModelSpec, execution: Part | None) -> list[Plugin]:
    """The distributions, other than polzoo, that the parts come from."""
    parts = [(kind, getattr(spec, kind)) for kind in specs.MODEL_KINDS]
    parts += [("update", execution)] if execution else []
    entries = [registry().get(kind, part.name) for kind, part in parts]
    found = {entry.distribution: entry.version for entry in entries if entry.distribution not in ("", OURS)}
    return [Plugin(distribution=name, version=version) for name, version in sorted(found.items())]


def licences_of(spec: ModelSpec) -> str:
    """The licences of the parts, joined as SPDX does."""
    found = {registry().get(kind, getattr(spec, kind).name).licence for kind in specs.MODEL_KINDS}
    return " AND ".join(sorted(found))


_Read = TypeVar("_Read", Config, Alias)


def _seal(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    lines = [f"{'.'.join(map(str, one['loc']))}: {shorten(one['msg'])}" for one in faults[:3]]
    return "; ".join(lines) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
