"""Which checkpoints go into an archive, as users say it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from evolvent.core.records import JobId
from evolvent.errors import ConfigError, UnknownJob
from evolvent.store.dump import Chosen

_WORDS = get_args(get_args(Chosen)[0])


def chosen(wish: str | Iterable[str]) -> Chosen:
    """Return the choice of `"best"`, `"kept"`, `"pinned"`, `"none"`, or of job ids.

    Args:
        wish: a word, job ids separated by commas, or a list of job ids.

    Raises:
        ConfigError: says what came and what was wanted.
    """
    for word in _WORDS:
        if wish == word:
            return word  # type: ignore[no-any-return]  # what get_args gives has no type
    try:
        names = wish.split(",") if isinstance(wish, str) else [str(name) for name in wish]
        return [JobId.parse(name.strip()) for name in names]
    except (UnknownJob, TypeError) as e:
        words = ", ".join(map(repr, _WORDS))
        raise ConfigError(
            f"checkpoints: got {wish!r:.80}, wanted {words}, or jobs such as 'm3r12,m0r7'"
        ) from e
