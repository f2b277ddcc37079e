"""The declarative training file (``recipes/*.toml``): read, validated, and written back resolved."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polzoo import cards
from polzoo.data.files import read_bytes
from polzoo.errors import PolzooError, nearest, unknown


class Init(BaseModel):
    """Weights to start from instead of fresh ones: a checkpoint of the same model, or a recipe that is run first."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str | None = Field(default=None, alias="from", description="name or path of the checkpoint")
    recipe: str | None = Field(default=None, description="name or path of the recipe")
    steps: int | None = Field(default=None, ge=1, description="stop that recipe after so many of its steps")

    @model_validator(mode="after")
    def _one(self) -> Init:
        if (self.source is None) == (self.recipe is None) or (self.steps is not None and self.recipe is None):
            raise ValueError("init takes either from, or recipe with steps")
        return self


class TrainingConfig(BaseModel):
    """One training run. ``model``, ``recipe`` and ``data`` are spec texts of registered components."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    summary: str = ""
    model: str
    recipe: str = "supervised"
    data: str
    init: Init | None = None
    iterations: int = Field(default=12, ge=1, le=1000, description="refinement steps trained with")
    steps: int = Field(ge=1)
    batch_size: int = Field(default=8, ge=1, description="per process")
    seed: int = Field(default=0, ge=0, lt=2**63)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    precision: Literal["no", "bf16"] = "no"
    workers: int = Field(default=1, ge=0, le=64, description="data loader processes")
    log_every: int = Field(default=20, ge=1, description="steps")
    save_every: int = Field(default=200, ge=1, description="steps between resumable states")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the recipe")


def find(name: str) -> Path:
    """The file of a recipe: a path, or the bare name of a shipped one. Raises PolzooError with the nearest match."""
    path, shipped = Path(name), cards.recipes()
    if path.suffix == ".toml" or len(path.parts) > 1:
        return path
    if name not in shipped:
        raise unknown("recipe", name, shipped)
    return shipped[name]


def read(path: Path) -> TrainingConfig:
    """The validated contents of a recipe file. Raises PolzooError naming the file, the key and what is allowed."""
    try:
        data = tomllib.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise PolzooError(f"recipe {path} is not valid TOML: {e}") from None
    try:
        return TrainingConfig(**data)
    except ValidationError as e:
        first = min(e.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # it explains a missing key
        key = ".".join(str(part) for part in first["loc"])
        hint = nearest(key, TrainingConfig.model_fields) if first["type"] == "extra_forbidden" else ""
        raise PolzooError(f"recipe {path}: {key}: {first['msg']}{hint}") from None


def write(config: TrainingConfig) -> str:
    """The resolved file: every key, defaults included."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(mode="json", by_alias=True, exclude_none=True))
