"""The declarative training file (``recipes/*.toml``): read, validated, and written back resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polzoo import cards
from polzoo.config import read_config
from polzoo.data.augment_options import AugmentOptions
from polzoo.errors import PolzooError, nearest, unknown
from polzoo.names import resolve
from polzoo.recipes.inherit import gather, merge
from polzoo.spec import Part, make_part, parse_part

Share = Annotated[float, Field(gt=0, lt=1)]


class Init(BaseModel):
    """Weights to start from instead of fresh ones: a checkpoint, or a recipe that is run first.

    Every tensor is taken from there, but for those of ``new`` and those that ``widen`` lets grow.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str | None = Field(default=None, alias="from", description="name or path of the checkpoint")
    recipe: str | None = Field(default=None, description="name or path of the recipe")
    steps: int | None = Field(default=None, ge=1, description="stop that recipe after so many of its steps")
    new: tuple[str, ...] = Field(default=(), description="patterns of tensors that start fresh: ['fusion.*']")
    widen: Literal["zero"] | None = Field(
        default=None, description="'zero': tensors that have grown take what was there, with zeros for the rest"
    )

    @model_validator(mode="after")
    def _one(self) -> Init:
        if (self.source is None) == (self.recipe is None) or (self.steps is not None and self.recipe is None):
            raise ValueError("init takes either from, or recipe with steps")
        return self


class TrainingConfig(BaseModel):
    """One training run. ``model``, ``recipe`` and ``data`` are spec texts of registered components; several texts of
    ``data`` are one mixture, whose shares ``"kitti15(root='…')*3"`` gives.

    Patterns are shell patterns over the names of the model's parameters and modules: ``backbone.*``, ``*.norm?``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    summary: str = ""
    model: str
    recipe: str = "supervised"
    data: str | tuple[str, ...]
    init: Init | None = None
    teacher: str | None = Field(default=None, description="checkpoint that the recipe learns from, where it learns so")
    teacher_sha256: str | None = Field(default=None, description="of its weights; noted when the run begins")
    stages: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="a chain: model is a checkpoint, and each stage is trained with so many iterations"
    )
    iterations: int = Field(default=12, ge=1, le=1000, description="refinement steps trained with")
    steps: int = Field(ge=1)
    batch_size: int = Field(default=8, ge=1, description="pairs per process")
    accumulate: int = Field(default=1, ge=1, description="batches of each process whose gradients make one step")
    seed: int = Field(default=0, ge=0, lt=2**63)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="of the arithmetic; weights are float32")
    ema: float | None = Field(default=None, gt=0, lt=1, description="write the average of the weights, of this decay")
    freeze: tuple[str, ...] = Field(default=(), description="patterns of parameters that are not trained")
    thaw: dict[str, Share] = Field(
        default_factory=dict, description="pattern of parameters → share of the steps after which they are trained"
    )
    batchnorm: dict[str, Literal["train", "eval"]] = Field(
        default_factory=dict, description="pattern of modules → mode of their BatchNorm; the last that matches counts"
    )
    compile: bool = Field(default=False, description="compile the recipe's forward pass (torch.compile)")
    sharded: bool = Field(default=False, description="shard weights and optimiser over the processes (FSDP)")
    patience: int = Field(default=10, ge=1, description="batches in a row whose loss is not finite, before it stops")
    workers: int = Field(default=1, ge=0, le=64, description="data loader processes")
    log_every: int = Field(default=20, ge=1, description="steps")
    save_every: int = Field(default=200, ge=1, description="steps between resumable states")
    pictures_every: int = Field(default=1000, ge=0, description="steps between pictures of the first pairs; 0: none")
    augment: AugmentOptions | None = Field(default=None, description="how pairs are changed at random")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the recipe")

    @model_validator(mode="after")
    def _agree(self) -> TrainingConfig:
        both = set(self.freeze) & self.thaw.keys()
        if both:
            raise ValueError(f"freeze and thaw both name {sorted(both)[0]!r}")
        if self.stages and (self.init is not None or self.teacher is not None):
            raise ValueError("the stages of a chain start from and learn from each other; leave out init and teacher")
        if self.stages and "iterations" in self.model_fields_set:
            raise ValueError(
                f"stages = {list(self.stages)} are a chain's iterations: leave out iterations = {self.iterations},"
                " or set stages = [] for a single run"
            )
        return self

    def part(self) -> Part:
        """The recipe with its options, those of ``recipe``'s text under those of ``options``.

        Raises PolzooError for an unknown recipe or option, and for a cap that rises longer than half of the run.
        """
        part = parse_part("recipe", self.recipe)
        part = make_part("recipe", part.name, {**_dump(part, exclude_unset=True), **self.options})
        warmup = getattr(part.options, "alpha_cap_warmup", 0)
        if warmup > self.steps / 2:
            raise PolzooError(f"alpha_cap_warmup={warmup} is more than half of the {self.steps} steps; lower it")
        return part


def find(name: str) -> Path:
    """The file of a recipe: a path, or the bare name of a shipped one. Raises PolzooError with the nearest match."""
    path = Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return path
    shipped = cards.recipes()
    if name not in shipped:
        raise unknown("recipe", name, shipped)
    return shipped[name]


def read(path: Path, changes: Mapping[str, Any] | None = None) -> TrainingConfig:
    """The validated recipe of a file, over its bases and under ``changes``; every option of its recipe is filled in.

    A recipe without ``model`` trains that of the checkpoint that it starts from.

    Raises PolzooError naming the file, the key and what is allowed.
    """
    table = merge(gather(path, find), changes or {})
    first = table.get("init")
    if "model" not in table and isinstance(first, Mapping) and isinstance(first.get("from"), str):
        table["model"] = str(read_config(resolve(first["from"])).spec())
    try:
        config = TrainingConfig(**table)
    except ValidationError as e:
        raise PolzooError(f"recipe {path}: {_explain(e, table)}") from None
    try:
        part = config.part()
    except PolzooError as e:
        raise PolzooError(f"recipe {path}: {e}") from None
    return config.model_copy(update={"recipe": part.name, "options": _dump(part)})


def _dump(part: Part, **how: Any) -> dict[str, Any]:
    found = part.options.model_dump(mode="json", **how)
    return {key: value for key, value in found.items() if value is not None}


def _explain(error: ValidationError, table: Mapping[str, Any]) -> str:
    """The first fault in words: the key, what is wrong, and what the key means or which one it may be."""
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # it explains a missing key
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        inner = table.get(key)
        wrong = f"{key}.{next(iter(inner))}" if isinstance(inner, dict) and inner else key
        return f"{wrong}: there is no such key{nearest(wrong, _keys(table))}"
    field = TrainingConfig.model_fields.get(str(first["loc"][0])) if first["loc"] else None
    about = f" ({field.description})" if field is not None and field.description and len(first["loc"]) == 1 else ""
    hint = f"; give it in the file or by --set {key}=…" if first["type"] == "missing" else ""
    hint += ", or start from a checkpoint: init.from" if hint and key == "model" else ""
    return f"{key}: {first['msg']}{about}{hint}".removeprefix(": ")


def _keys(table: Mapping[str, Any]) -> list[str]:
    """Every key that a recipe may have, those of its options in full."""
    keys = [*TrainingConfig.model_fields, *(f"init.{field.alias or name}" for name, field in Init.model_fields.items())]
    keys += [f"augment.{name}" for name in AugmentOptions.model_fields]
    try:
        options = type(parse_part("recipe", str(table.get("recipe", "supervised"))).options)
    except PolzooError:
        return keys
    return [*keys, *(f"options.{name}" for name in options.model_fields)]


def write(config: TrainingConfig) -> str:
    """The resolved file: every key, defaults included; a chain has its stages for ``iterations``."""
    import tomli_w

    left_out = {"iterations"} if config.stages else set()
    return tomli_w.dumps(config.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=left_out))
