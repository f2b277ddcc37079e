"""polzoo: stereo matching with polarization, as a zoo of components that a string can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polzoo.cards import list_models
    from polzoo.errors import PolzooError
    from polzoo.hookspecs import hookimpl
    from polzoo.registry import list_components
    from polzoo.spec import ModelSpec
    from polzoo.zoo import build, load

__version__ = "0.1.0"

__all__ = [
    "ModelSpec",
    "PolzooError",
    "__version__",
    "build",
    "hookimpl",
    "list_components",
    "list_models",
    "load",
]

_HOME = {
    "build": "polzoo.zoo",
    "load": "polzoo.zoo",
    "list_models": "polzoo.cards",
    "list_components": "polzoo.registry",
    "hookimpl": "polzoo.hookspecs",
    "PolzooError": "polzoo.errors",
    "ModelSpec": "polzoo.spec",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that ``import polzoo`` stays instant."""
    if name not in _HOME:
        raise AttributeError(f"module 'polzoo' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
