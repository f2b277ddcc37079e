"""The checkpoint folder, which is a Hub repository as it stands: write it, read it strictly, verify it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError

from polzoo import __version__, atomic, delta, golden, model_card, weights
from polzoo import spec as specs
from polzoo.config import (
    CARD,
    CONFIG,
    FILES,
    GOLDEN,
    RECIPE,
    WEIGHTS,
    Alias,
    Config,
    DiskType,
    Provenance,
    Target,
    digest,
    inside,
    licences_of,
    plugins_of,
    raw,
    read_alias,
    read_config,
    write_config,
)
from polzoo.errors import PolzooError, home, one_line, unknown
from polzoo.model import StereoModel
from polzoo.names import effective, find, follow, resolve
from polzoo.spec import ModelSpec, Part
from polzoo.zoo import build

__all__ = [
    "Check",
    "Config",
    "VerifyReport",
    "load_folder",
    "read_config",
    "resolve",
    "save",
    "save_alias",
    "verify",
]


# ---------------------------------------------------------------------------------------------------------- writing


def save(
    model: StereoModel,
    folder: str | Path,
    *,
    summary: str = "",
    provenance: Mapping[str, Any] | None = None,
    recipe: str | Mapping[str, Any] | None = None,
    card: str | None = None,
    dtype: DiskType | None = None,
    execution: str | None = None,
    licence: str | None = None,
    base: str | None = None,
) -> Path:
    """Write a checkpoint folder; it appears whole, replacing the checkpoint that was there, or not at all.

    Args:
        model: in its trainable form and float32, on any device.
        provenance: any of recipe, data, steps, parent, seed, note.
        recipe: the resolved recipe, TOML text or a table.
        card: text of README.md; left out, it is made by :mod:`polzoo.model_card`.
        dtype: of floating tensors on disk, float32 (unless the base has another), float16 or bfloat16.
        execution: spec text of the update operator that suits the model, such as ``"flashgru(density=0.2)"``.
        licence: of the weights; left out, the licences of the parts.
        base: a checkpoint that is written whole; only tensors that differ from its, once rounded, are stored. A base
            in the same folder as the new checkpoint is found beside it wherever both go.

    Raises:
        PolzooError: a fused copy, weights or an output that are not finite, a wrong argument, a base that does not
            fit, a folder that holds anything but a checkpoint, or a disk that cannot be written.
    """
    target = Path(os.path.realpath(home(folder)))
    _refuse_foreign(target)
    shared = None if base is None else delta.Shared.open(base, target, dtype)
    dtype = dtype or ("float32" if shared is None else shared.dtype)
    if dtype not in get_args(DiskType):
        raise unknown("dtype on disk", dtype, get_args(DiskType))
    if getattr(model, "fused", False):
        raise PolzooError("cannot save a fused copy: save the model that it was made of")
    made_of = specs.from_dict(specs.to_dict(model.spec))
    part = None if execution is None else specs.parse_part("update", execution)
    tensors = weights.tensors_of(model, dtype)
    files = {WEIGHTS: weights.pack(tensors if shared is None else shared.leave_out(tensors))}
    if recipe is not None:
        files[RECIPE] = _toml(recipe).encode()
    with atomic.folder(target) as work:
        for name, data in files.items():
            (work / name).write_bytes(data)
        hashes: dict[Any, str] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        config = Config(
            polzoo=__version__,
            summary=summary,
            licence=licences_of(made_of) if licence is None else licence,
            model=specs.to_dict(made_of),
            settings=model.settings,
            execution=None if part is None else specs.format_part("update", part),
            plugins=plugins_of(made_of, part),
            dtype=dtype,
            sha256=hashes,
            base=None if shared is None else shared.block(tensors),
            provenance=_provenance(provenance or {}),
        )
        reread = golden.pack(_build(config, work, made_of))
        (work / GOLDEN).write_bytes(reread)
        hashes[GOLDEN] = hashlib.sha256(reread).hexdigest()
        config = config.model_copy(update={"sha256": hashes})
        write_config(work, config)
        text = model_card.render(work, f"./{target.name}") if card is None else card
        (work / CARD).write_text(text, encoding="utf-8")
    return target


def save_alias(
    folder: str | Path, target: str, execution: str, *, summary: str = "", licence: str | None = None
) -> Path:
    """Write a checkpoint folder without tensors: ``target``'s, run by the update operator ``execution``.

    Raises:
        PolzooError: no such target, or an alias; an operator that cannot run it; a folder that holds anything but a
            checkpoint, or a disk that cannot be written.
    """
    place = Path(os.path.realpath(home(folder)))
    _refuse_foreign(place)
    there = find(target)
    if read_alias(there) is not None:
        raise PolzooError(f"{target!r} is an alias itself; name the checkpoint with the tensors")
    config, part = read_config(there), specs.parse_part("update", execution)
    load_folder(there, update=execution)
    text = specs.format_part("update", part)
    alias = Alias(
        polzoo=__version__,
        summary=summary or f"{config.summary or target}, run by {text}",
        licence=config.licence if licence is None else licence,
        alias=Target(name=delta.name_for(target, there, place), sha256=str(config.weights_sha256)),
        execution=text,
    )
    with atomic.folder(place) as work:
        write_config(work, alias)
        (work / CARD).write_text(model_card.render(work, f"./{place.name}"), encoding="utf-8")
    return place


def _refuse_foreign(target: Path) -> None:
    """Replacing a folder deletes what is in it, so it may hold nothing but a checkpoint's files."""
    there = os.path.exists(target)  # unlike Path.exists, this does not raise on a name that is too long
    if there and not target.is_dir():
        raise PolzooError(f"{target} is a file; name a folder to write the checkpoint to")
    others = sorted(p.name for p in target.iterdir() if p.name not in FILES) if there else []
    if others:
        raise PolzooError(f"{target} holds {others[0]!r}, so it is more than a checkpoint and is not replaced")


def _provenance(given: Mapping[str, Any]) -> Provenance:
    for key in given:
        if key not in Provenance.model_fields:
            raise unknown("key of provenance", key, Provenance.model_fields)
    try:
        return Provenance(**given)
    except ValidationError as error:
        raise PolzooError(f"provenance: {one_line(error)}") from error


def _toml(recipe: str | Mapping[str, Any]) -> str:
    import tomli_w

    return recipe if isinstance(recipe, str) else tomli_w.dumps(dict(recipe))


# ---------------------------------------------------------------------------------------------------------- reading


def load_folder(
    path: str | Path,
    *,
    update: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
) -> StereoModel:
    """The model of a checkpoint folder, trainable form, in eval mode.

    Args:
        update: another execution of the same weights, ``"flashgru"`` or ``"flashgru(density=0.2)"``; a name alone takes
            the options of the checkpoint's execution block, if that is of the same operator.
        dtype: floating type of the weights; float32 unless given, whatever they are on disk.

    Raises:
        PolzooError: anything about the folder that is not exactly as it was written, an alias's target or a delta's
            base among it; a plugin that is missing, an unknown operator, or a device that is not there.
    """
    config, folder = effective(Path(path)), follow(Path(path))[0]
    spec = config.spec()
    if update is not None:
        spec = replace(spec, update=_operator(config, update))
    model = _build(config, folder, spec)
    weights.place(model, device, dtype)
    return model


def _operator(config: Config, text: str) -> Part:
    part, suited = specs.parse_part("update", text), config.execution_part()
    plain = "(" not in text
    return suited if suited is not None and plain and suited.name == part.name else part


def _build(config: Config, folder: Path, spec: ModelSpec) -> StereoModel:
    """A fresh model with the folder's weights; the process's random numbers stay where they were."""
    tensors = delta.tensors(config, folder)
    with torch.random.fork_rng(devices=[]):
        model = build(spec, config.settings, fresh=False)
    weights.fill(model, tensors, str(folder / WEIGHTS), config.dtype)
    return model.eval()


# -------------------------------------------------------------------------------------------------------- verifying


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``ok`` is None where it does not apply."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` found: config, hashes, strict load and golden output."""

    name: str
    folder: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok is not False for check in self.checks)


def verify(
    name: str | os.PathLike[str], *, update: str | None = None, device: str | torch.device = "cpu"
) -> VerifyReport:
    """Check a checkpoint: config, hashes, strict load, and that it computes what it did when it was written.

    The golden output is compared in float32; under another ``update`` it does not apply.

    Raises:
        PolzooError: there is no such checkpoint, or its config is no JSON at all.
    """
    named = find(name)
    raw(named)
    checks: list[Check] = []
    try:
        folder, alias = follow(named)
        config = read_config(folder)
        stands = f"an alias of {alias.alias.name}, which is " if alias else ""
        of = f", with the tensors of {config.base.name} that it shares" if config.base else ""
        written = f"{stands}unchanged: format {config.format}, written by polzoo {config.polzoo}"
        checks.append(Check("config", True, written))
        checks.append(_hashes(config, folder))
        model = load_folder(named, update=update, device=device)
        count = sum(p.numel() for p in model.parameters())
        checks.append(Check("load", True, f"every tensor fits{of}: {model.spec}, {count:,} parameters"))
        if alias and update is None:  # its target's output says that the tensors are right
            model = load_folder(folder, device=device)
        checks.append(_golden(config, folder, model, device))
    except PolzooError as error:
        failed = ("config", "hash", "load", "golden")[len(checks)]
        checks.append(Check(failed, False, str(error)))
    return VerifyReport(os.fspath(name), named, tuple(checks))


def _hashes(config: Config, folder: Path) -> Check:
    for name, wanted in config.sha256.items():
        if digest(inside(folder, name)) != wanted:
            raise PolzooError(f"{folder / name} does not match the sha256 in {CONFIG}")
    absent = [name for name in (WEIGHTS, GOLDEN) if name not in config.sha256]
    if absent:
        return Check("hash", False, f"no hash of {' and '.join(absent)}")
    others = sorted(path.name for path in folder.iterdir() if path.name not in (CONFIG, *config.sha256))
    rest = f"; not covered: {', '.join(others)}" if others else ""
    return Check("hash", True, f"unchanged: {', '.join(config.sha256)}{rest}")


def _golden(config: Config, folder: Path, model: StereoModel, device: str | torch.device) -> Check:
    if model.spec != config.spec():
        return Check("golden", None, "not checked: the output was written under another update operator")
    if GOLDEN not in config.sha256:
        raise PolzooError(f"{folder} has no {GOLDEN}")
    found, allowed = golden.deviation(model, folder, config.sha256[GOLDEN]), golden.tolerance(device)
    detail = f"output: 99.9 % of pixels within {found:.2g} px of the written ones (allowed {allowed:g} px)"
    return Check("golden", found <= allowed, detail)
