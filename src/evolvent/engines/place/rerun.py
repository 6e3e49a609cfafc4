"""Whether this process runs the top level of the user's script again, for another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import process

from evolvent.errors import ConfigError

_script: str | None = None


@contextmanager
def rerunning(script: str) -> Iterator[None]:
    """Let `is_rerun` and `refuse_in_rerun` know, meanwhile, that a worker runs a script."""
    global _script  # noqa: PLW0603 - one of a process
    _script = script
    try:
        yield
    finally:
        _script = None


def is_rerun() -> bool:
    """Whether what the script makes at its top is there already: the script itself has made it."""
    return _rerunner() is not None


def refuse_in_rerun(what: str) -> None:
    """Refuse what only the script itself may do.

    Raises:
        ConfigError: a worker has come to it at the top level of the script.
    """
    who = _rerunner()
    if who is not None:
        raise ConfigError(f'{what}: {who}: put it under the guard, `if __name__ == "__main__":`')


def _rerunner() -> str | None:
    if _script is not None:
        return f"a worker came to it while it ran the top level of {_script}"
    # As `multiprocessing` itself asks; it would start processes that start processes.
    if getattr(process.current_process(), "_inheriting", False):
        return "a process that training code has spawned came to it at the top level of the script"
    return None
