"""Protocols: what is compared, where and how it is averaged, as named TOML files. Imports neither numpy nor torch.

A published file never changes: what changes is published as the next version, and figures of different versions do not
stand in one table (:func:`polzoo.evaluation.report.compare`).
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polzoo.errors import PolzooError, one_line, shorten, unknown

FOLDER = Path(__file__).parent / "protocols"

METRICS = ("epe", "bad(threshold=1.0)", "bad(threshold=2.0)", "bad(threshold=3.0)", "density")
"""Spec texts of the figures that an evaluation has where no protocol says otherwise; the first is the headline."""

Margin = Annotated[int, Field(ge=0)]


class Protocol(BaseModel):
    """How an evaluation is done; the defaults are those of an evaluation without a protocol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", description="empty: no protocol")
    version: int = Field(default=0, ge=0)
    about: str = Field(default="", description="one line for a listing")
    source: str = Field(default="", description="who defined it: paper, page or program")
    data: str = Field(default="", description="spec of the data set, without its root")
    root: bool = Field(default=False, description="the data set lies in a folder that --data names")
    crop: tuple[Margin, Margin, Margin, Margin] = Field(
        default=(0, 0, 0, 0), description="pixels that are not compared: left, right, top, bottom"
    )
    max_disparity: float | None = Field(default=None, gt=0, description="only smaller true disparities, pixels")
    estimates: Literal["given", "kitti", "eth3d"] = Field(
        default="given", description="what is done to a prediction before: polzoo.evaluation.estimates"
    )
    mask: str = Field(default="all", description="region of the headline figure, of the ranking and of the curve")
    regions: tuple[str, ...] | None = Field(default=None, min_length=1, description="unset: all that are known")
    metrics: tuple[str, ...] = Field(default=METRICS, min_length=1, description="the first is the headline")
    averaging: Literal["pixels", "pairs"] = Field(
        default="pixels", description="over all pixels of the set, or per pair and then over the pairs"
    )
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="weight of a pair, by a part of its name, in averages over pairs; 1 unless named"
    )
    iterations: Literal["any", "own"] = Field(
        default="any", description="'own': every model runs with its own number; the number is noted either way"
    )

    @model_validator(mode="after")
    def _has_its_mask(self) -> Protocol:
        if self.regions is not None and self.mask not in self.regions:
            raise ValueError(f"mask {self.mask!r} is none of its regions")
        return self

    def weight(self, name: str) -> float:
        """The weight of a pair called ``middlebury/trainingQ/PianoL/im0``: that of its part ``PianoL``."""
        return next((weight for part, weight in self.weights.items() if part in name.split("/")), 1.0)


def names() -> list[str]:
    """The published protocols."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def find(name: str) -> Path:
    """The file of a published protocol.

    Raises:
        PolzooError: there is none of that name.
    """
    if name not in names():
        raise unknown("protocol", name, names())
    return FOLDER / f"{name}.toml"


def read(file: Path) -> Protocol:
    """A protocol's file.

    Raises:
        PolzooError: it cannot be read or is no protocol.
    """
    try:
        return Protocol.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        path, given = ".".join(map(str, fault["loc"])), f", not {shorten(repr(fault['input']))}"
        message = fault["msg"].removeprefix("Value error, ")
        raise PolzooError(f"{file}: {f'{path} {message}{given}' if path else message}") from error
    except (OSError, ValueError) as error:
        raise PolzooError(f"{file} cannot be read as a protocol: {one_line(error)}") from error


def digest(name: str) -> str:
    """sha256 of a published protocol's file: what "frozen" means."""
    return hashlib.sha256(find(name).read_bytes()).hexdigest()
