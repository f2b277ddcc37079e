"""Every kind of component is checked for what it is before it is made, and blamed by name if it fails."""

from __future__ import annotations

from typing import Any

import pytest

from polzoo.errors import PolzooError
from polzoo.hookspecs import hookimpl
from polzoo.interfaces import Fusion
from polzoo.options import Options
from polzoo.registry import Registry, temporary
from polzoo.spec import Part
from polzoo.zoo import build, instantiate


class Breaks(Fusion):
    def __init__(self, options: Options, *rest: Any) -> None:
        raise RuntimeError("boom\nand more")


class Needs(Fusion):
    def __init__(self, options: Options, *rest: Any) -> None:
        import timm_of_nobody  # noqa: F401  # pyright: ignore[reportMissingImports]


class Refuses(Fusion):
    def __init__(self, options: Options, *rest: Any) -> None:
        raise PolzooError("width must be even")


class Greedy(Fusion):
    def __init__(self, options: Options, host: Any, more: Any) -> None:
        super().__init__(options, host)


class Plain:
    def __init__(self, options: Options) -> None: ...


class Callable(Plain):
    def __call__(self) -> None: ...


class Sized(Plain):
    def __len__(self) -> int:
        return 0


def function(options: Options) -> None: ...


class Plugin:
    """Registers a class of this module as ``mine``."""

    def __init__(self, hook: str, target: str) -> None:
        def register_it(register: Any) -> None:
            register("mine", f"{__name__}:{target}", summary="s", licence="MIT")

        setattr(self, hook, hookimpl(register_it))


@pytest.fixture
def zoo(monkeypatch):
    """(hook, class) → the process's registry, for now, with that plugin of the distribution "theirs"."""

    def install(hook: str, target: str, *, distribution: str = "theirs", strict: bool = False) -> None:
        made = Registry([], strict=strict)
        made.add(Plugin(hook, target), name="one", distribution=distribution)
        monkeypatch.setattr("polzoo.zoo.registry", lambda: made)

    return install


PART = Part("mine", Options())


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("Breaks", "fusion 'mine' of theirs cannot be made: RuntimeError: boom and more"),
        ("Needs", "fusion 'mine' of theirs cannot be made: ModuleNotFoundError: No module named 'timm_of_nobody'"),
        ("Refuses", "width must be even"),
        ("Greedy", "fusion 'mine' of theirs cannot be made: TypeError: "),
    ],
)
def test_a_plugins_component_that_cannot_be_made_is_one_line(zoo, target, words) -> None:
    zoo("fusions", target)
    with pytest.raises(PolzooError) as caught:
        instantiate("fusion", PART, None)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


def test_where_the_traceback_is_wanted_it_stays(zoo) -> None:
    with temporary("fusion", "mine", Breaks), pytest.raises(RuntimeError, match="boom"):
        build("raft-lite+mine")
    for how in ({"strict": True}, {"distribution": "polzoo"}):
        zoo("fusions", "Breaks", **how)
        with pytest.raises(RuntimeError, match="boom"):
            instantiate("fusion", PART, None)


@pytest.mark.parametrize(
    ("hook", "target", "words"),
    [
        ("backbones", "Plain", "not a subclass of polzoo.interfaces.Backbone"),
        ("fusions", "function", "not a subclass of polzoo.interfaces.Fusion"),
        ("updates", "Breaks", "not a subclass of polzoo.interfaces.UpdateOperator"),
        ("recipes", "Plain", "not a subclass of polzoo.interfaces.Recipe"),
        ("datasets", "Sized", "has no __getitem__, which a dataset must have"),
        ("datasets", "function", "is not a class"),
        ("metrics", "Plain", "has no __call__, which a metric must have"),
        ("baselines", "Plain", "has no __call__, which a baseline must have"),
        ("importances", "Plain", "has no __call__, which an importance must have"),
    ],
)
def test_what_is_no_component_of_its_kind_is_refused(zoo, hook, target, words) -> None:
    zoo(hook, target)
    with pytest.raises(PolzooError, match="'mine' of theirs: ") as caught:
        instantiate(hook[:-1], PART)
    assert words in str(caught.value)


def test_what_fits_is_made(zoo) -> None:
    zoo("metrics", "Callable")
    assert type(instantiate("metric", PART)).__name__ == "Callable"
