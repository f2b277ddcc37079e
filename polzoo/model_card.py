"""README.md of a checkpoint folder: every word and figure from its config, recipe and evaluation, and your own part.

Front matter as the Hub reads it: https://huggingface.co/docs/hub/model-cards, its results by the format at
https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polzoo import cards, hub
from polzoo.config import CARD, EVAL, PICTURE, RECIPE, Config, read_alias
from polzoo.errors import PolzooError, one_line
from polzoo.execution import COST, MOST
from polzoo.names import effective
from polzoo.registry import registry

BEGIN = "<!-- your own words: from here to the end mark they stay when polzoo makes this card anew -->"
END = "<!-- end of your own words -->"

SHOWN = ("epe", "bad-3")
"""Metrics of the tables beside the evaluation's headline, its first metric: the first of these that is another."""

INDEXED = ("all", "glass")
"""Regions whose figures stand in the front matter, too."""

LICENCES = re.compile(
    r"mit|apache-2\.0|bsd-[23]-clause|bsl-1\.0|isc|zlib|unlicense|mpl-2\.0|e[cp]l-2\.0|[al]?gpl-3\.0|gpl-2\.0|lgpl-2\.1"
    r"|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-4\.0"
)
"""Common SPDX identifiers that the Hub has a word for: https://huggingface.co/docs/hub/repositories-licenses."""

Result = Mapping[str, Any]


class Handwritten(PolzooError):
    """A card without the marks: somebody wrote it, and it must not be lost."""


def render(folder: Path, address: str) -> str:
    """The card of a checkpoint folder, an alias's too.

    Args:
        address: what ``polzoo.load`` takes: a published model's name, ``org/name`` or a path.

    Raises:
        Handwritten: the folder has a card that polzoo did not make.
        PolzooError: no readable config, or an evaluation that is none.
    """
    config, results = effective(folder), evaluations(folder)
    name = address.rstrip("/").rpartition("/")[2].partition("@")[0]
    lines = [*_front(name, folder, config, results), f"# {name}", "", *_about(folder, config, address)]
    lines += _use(config, address)
    lines += [*_limits(config, results), *_training(folder, config), *_results(results, address)]
    return "\n".join([*lines, BEGIN, own_words(folder), END, ""])


def own_words(folder: Path) -> str:
    """What stands between the marks of a folder's card; nothing where there is no card."""
    file = folder / CARD
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise PolzooError(f"{file} cannot be read: {one_line(error)}") from error
    found = text.partition(BEGIN)[2].rpartition(END)
    if not found[1]:
        raise Handwritten(f"{file} was not made by polzoo and is kept: delete it, or add the two lines {BEGIN} {END}")
    return found[0].strip("\n")


def evaluations(folder: Path) -> list[Result]:
    """The results in a folder's ``eval.json``, one per data set; none where there is no such file."""
    file = folder / EVAL
    if not file.exists():
        return []
    try:
        return json.loads(file.read_text(encoding="utf-8"))["evaluations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PolzooError(f"{file} is no evaluation that can be read: {one_line(error)}") from None


# --------------------------------------------------------------------------------------------------------- front matter


def _front(name: str, folder: Path, config: Config, results: Sequence[Result]) -> Iterator[str]:
    yield from ("---", "library_name: polzoo", "pipeline_tag: depth-estimation")
    if LICENCES.fullmatch(config.licence.lower()):
        yield f"license: {config.licence.lower()}"
    elif config.licence:
        yield from ("license: other", f"license_name: {json.dumps(config.licence)}")
    if base := _base_model(folder, config):
        yield f"base_model: {base}"
    polarized = ["polarization"] if config.settings.input.needs != "rgb" else []
    yield f"tags: [{', '.join(['stereo', 'stereo-matching', 'disparity', *polarized])}]"
    if results:
        yield from ("model-index:", f"- name: {name}", "  results:")
    for result in results:
        yield from ("  - task: {type: depth-estimation, name: stereo matching}",)
        title = json.dumps(_title(result).replace("`", ""))
        yield f"    dataset: {{type: {json.dumps(_data(result))}, name: {title}}}"
        yield "    metrics:"
        for region in (name for name in result["regions"] if name in INDEXED):
            for label, value in zip(_labels(result), _figures(result, _own(result), region), strict=True):
                if value is not None:
                    title = json.dumps(f"{label} [{result['metrics'][label]['unit']}], {region}")
                    yield f"    - {{type: {label}, name: {title}, value: {value:.4g}}}"
    yield from ("---", "")


def _base_model(folder: Path, config: Config) -> str | None:
    """``org/name`` of what the weights come from: where a name could be a path, too, it is no repository's."""
    alias = read_alias(folder)
    names = (alias and alias.alias.name, config.base and config.base.name, config.provenance.parent)
    for name in filter(None, names):
        found = hub.ADDRESS.fullmatch(name.removeprefix("hf:"))
        if found and (name.startswith("hf:") or found["revision"]):
            return found["repo"]
    return None


# --------------------------------------------------------------------------------------------------------- the sections


def _about(folder: Path, config: Config, address: str) -> Iterator[str]:
    summary, settings, alias = config.summary or "A stereo model", config.settings, read_alias(folder)
    yield from (summary.rstrip(".") + ".", "")
    if (folder / PICTURE).exists():
        yield from (f"![polzoo's bundled scene, matched by this model: disparity, error, glass, gate]({PICTURE})", "")
        yield from (f"Drawn by `polzoo demo --model {address}`.", "")
    yield from ("| | |", "|---|---|", f"| model | `{config.spec()}` |")
    if alias is not None:
        yield f"| alias | the weights of `{alias.alias.name}`, run by `{alias.execution}` |"
    elif _sparse(config):
        yield f'| sparse | `update="flashgru"` in `polzoo.load` runs it by `{config.execution}` |'
    trained = f" (trained with {settings.schedule_steps})" if settings.schedule_steps else ""
    yield f"| iterations | {settings.iterations}{trained} |"
    yield f"| input | {_input(config)} |"
    yield "| output | disparity of the left view in pixels, float32, of the input's size |"
    yield f"| weights | {config.dtype} on disk, sha256 `{str(config.weights_sha256)[:16]}…` |"
    yield from (f"| licence | {config.licence or 'not said'} |", "")


def _input(config: Config) -> str:
    block = config.settings.input
    views = f"rectified {'linear' if block.gamma == 'linear' else 'display-coded'} RGB pair, values in [0, 1]"
    if block.needs == "rgb":
        return views
    analysers = f"analysers {block.analysers} in front of (left, right) unless a call says otherwise"
    return f"{views}; {analysers}" + ("" if block.needs == "pair" else f"; maps of {block.needs}")


def _use(config: Config, address: str) -> Iterator[str]:
    yield from ("## Use", "")
    for kind, part in config.model.items():
        entry = registry().find(kind, part["name"])
        for extra in entry.extras() if entry else ():
            yield from (f"`{part['name']}` needs more than polzoo alone: `pip install {extra!r}`.", "")
    yield from ("```python", "import polzoo", "", f'model = polzoo.load("{address}")')
    yield from ('disparity = model.predict("left.png", "right.png")  # (H, W) float32, pixels', "```", "")
    yield from ("```bash", f"polzoo predict left.png right.png --model {address}", "```", "")


def _limits(config: Config, results: Sequence[Result]) -> Iterator[str]:
    yield from ("## Intended use and limits", "")
    yield "* Disparity of rectified stereo pairs, for research and as a start for fine-tuning on pairs of your own."
    names = [_dataset(text) for text in _trained_on(config)]
    if names and set(names) == {"synthetic"}:
        yield "* It has only ever seen rendered scenes; measure it on pairs like yours before you rely on it."
    if config.execution is not None and not _sparse(config):
        bound = f"refines {100 * MOST:g} % of the pixels or fewer and costs {100 * COST:g} % of EPE or less"
        yield f"* FlashGRU does not pay for it: no mask that was measured {bound}."
    for result in results:
        yield from _beaten(result)
    yield ""


def _sparse(config: Config) -> bool:
    """Whether the execution block names an operator that leaves pixels out."""
    part = config.execution_part()
    return part is not None and part.name != "dense"


def _beaten(result: Result) -> Iterator[str]:
    """Where another method of the same evaluation has the lower headline: over everything, else region by region."""
    behind = {region: found for region in result["regions"] if (found := _behind(result, region))}
    overall = next(iter(result["regions"]), None)
    if behind:
        shown = "; ".join([behind[overall]] if overall in behind else behind.values())
        yield f"* On {_title(result)} it is behind by {_labels(result)[0]}: {shown}."


def _behind(result: Result, region: str) -> str | None:
    figures = [_figures(result, place, region)[0] for place in range(len(result["methods"]))]
    own = figures[_own(result)]
    better = [(v, i) for i, v in enumerate(figures) if v is not None and own is not None and v < own]
    if not better:
        return None
    value, place = min(better)
    return f"{region} {own:.2f} against {value:.2f} of `{_short(result['methods'][place]['name'])}`"


def _training(folder: Path, config: Config) -> Iterator[str]:
    known = list(_known(folder, config)) or ["The checkpoint does not say."]
    yield from ("## Training", "", *known, "")


def _known(folder: Path, config: Config) -> Iterator[str]:
    made = config.provenance
    for text in _trained_on(config):
        entry = registry().find("dataset", _dataset(text))
        own = "rendered by polzoo itself, no outside data" if _dataset(text) == "synthetic" else None
        terms = own or f"{entry.summary if entry else 'data of its author'}; the terms of its publishers apply"
        yield f"* data: `{text}` – {terms}"
    how = [f"recipe `{made.recipe}`"] * bool(made.recipe) + ([f"{made.steps:,} steps"] if made.steps else [])
    how += [f"seed {made.seed}"] * (made.seed is not None) + [f"from {made.parent}"] * bool(made.parent)
    if how:
        yield f"* how: {', '.join(how)}"
    if (folder / RECIPE).exists():
        yield f"* again: {_again(folder, config)}"
    if made.note:
        yield f"* note: {made.note}"


def _again(folder: Path, config: Config) -> str:
    """The command that trains a checkpoint once more. For a stage of pruning whose parent is not published it is the
    shipped recipe that makes both, or else takes a parent of the reader's own."""
    recipe = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
    parent = recipe.get("teacher")
    if parent is None or "/" in parent or parent in {card.name for card in cards.checkpoints()}:
        return f"`polzoo train {RECIPE}`, with the file of this folder"
    if config.base and (chain := _chain(config.base.name)):
        return f"`polzoo train {chain}`, which makes `{parent}` and then this"
    own = f"`polzoo train {RECIPE} --set teacher=DIR --set init.from=DIR`"
    return f"{own}, with the file of this folder and DIR the path of `{parent}`"


def _chain(model: str) -> str | None:
    """The shipped recipe that prunes a model in stages; it says both itself, whatever its base."""
    tables = {name: tomllib.loads(file.read_text(encoding="utf-8")) for name, file in cards.recipes().items()}
    return next((name for name, table in tables.items() if table.get("stages") and table.get("model") == model), None)


def _results(results: Sequence[Result], address: str) -> Iterator[str]:
    yield from ("## Results", "")
    if not results:
        yield from (f"Not evaluated yet: `polzoo eval {address} --protocol synthetic-v1`.", "")
    for result in results:
        methods, labels, pairs = result["methods"], _labels(result), result["data"]["pairs"]
        columns = [f"{_short(m['name'])} {label}" for m in methods for label in labels]
        units = ", ".join(f"{label} in {result['metrics'][label]['unit']}" for label in labels)
        yield from (f"### {_title(result)}", "", f"{pairs} pairs, averages over {_averaging(result)}; {units}.", "")
        places = range(len(methods))
        rows = {name: [v for i in places for v in _figures(result, i, name)] for name in result["regions"]}
        yield from _table("region", columns, rows)
        if pairs <= 10:
            each = {n: [m["each"][label][i] for m in methods for label in labels] for i, n in enumerate(_names(result))}
            yield from _table("pair", columns, each)
        yield from ("```bash", result["run"]["command"], "```", "")


def _table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    for name, values in rows.items():
        yield f"| {name} | " + " | ".join("–" if v is None else f"{v:.2f}" for v in values) + " |"
    yield ""


# ----------------------------------------------------------------------------------------------- from a result's fields


def _title(result: Result) -> str:
    """``synthetic-v1 (version 1)``, or the data set where no protocol was followed."""
    protocol = result.get("protocol")
    return f"`{result['data']['spec']}`" if protocol is None else f"{protocol['name']} (version {protocol['version']})"


def _own(result: Result) -> int:
    """Place of the card's own checkpoint among the methods: the first checkpoint, where there is any."""
    return next((place for place, m in enumerate(result["methods"]) if m["kind"] == "checkpoint"), 0)


def _averaging(result: Result) -> str:
    return (result.get("protocol") or {}).get("averaging", "pixels")


def _labels(result: Result) -> list[str]:
    headline, *rest = result["metrics"]
    return [headline, *[label for label in (*SHOWN, *rest) if label in rest][:1]]


def _figures(result: Result, place: int, region: str) -> list[float | None]:
    """The shown metrics of one method in one region."""
    found = result["methods"][place]["regions"][region]
    return [found[label][_averaging(result)] for label in _labels(result)]


def _names(result: Result) -> list[str]:
    return result["data"]["names"]


def _data(result: Result) -> str:
    return _dataset(result["data"]["spec"])


def _trained_on(config: Config) -> list[str]:
    data = config.provenance.data
    return [data] if isinstance(data, str) else list(data or ())


def _dataset(text: str) -> str:
    return text.partition("(")[0].strip()


def _short(name: str) -> str:
    return name.partition("(")[0]
