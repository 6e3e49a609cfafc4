"""The process of a check, which `check_process.py` starts: what it does in the script's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from evolvent.testing.check import check_trainable


def run(
    trainable: Any, code: tuple[Any, Any], task: dict[str, Any], say: Callable[[Any], None]
) -> None:
    """Check, and say each proof as soon as it is there.

    Args:
        trainable: what was sent.
        code: what was sent with it: the algorithm and the space.
        task: its `check` are the other arguments of `check_trainable`.
        say: sends something that JSON can hold to the driver.
    """
    algorithm, space_or_sets = code
    check_trainable(
        trainable,
        space_or_sets,
        algorithm=algorithm,
        on_proof=lambda proof: say({"proof": asdict(proof)}),
        on_progress=lambda progress: say({"progress": asdict(progress)}),
        **task["check"],
    )
