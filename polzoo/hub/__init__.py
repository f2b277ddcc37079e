"""Checkpoint folders on the Hugging Face Hub: published, fetched and cached; our own files only, nothing executed."""

from polzoo.hub.client import ADDRESS, parse
from polzoo.hub.download import fetch
from polzoo.hub.store import Stored, prune, stored
from polzoo.hub.upload import Published, contents, publish

__all__ = ["ADDRESS", "Published", "Stored", "contents", "fetch", "parse", "prune", "publish", "stored"]
