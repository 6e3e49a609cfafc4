"""The durable log."""

from __future__ import annotations

from evolvent.store.connect import open_store

__all__ = ["open_store"]
