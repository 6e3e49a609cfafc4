"""What people do to a study, noted in the transaction in which they do it."""

from __future__ import annotations

import os
from typing import Any

from evolvent.store.interventions import Intervention, InterventionKind
from evolvent.store.sql import rows
from evolvent.store.sql.database import Transaction

_INSERT = """
INSERT INTO intervention (study, at, kind, facts, by) VALUES (:study, :at, :kind, :facts, :by)
"""


def note(
    tx: Transaction, study: int, kind: InterventionKind, *, by: str | None, **facts: Any
) -> None:
    """Note what was done, by the user of this process unless it is said by whom.

    To be called for what changes something only: a call that is made again, because its answer was
    lost, finds everything as it wants it.
    """
    done = Intervention(tx.now(), kind, facts, this_user() if by is None else by)
    names = ("study", *rows.INTERVENTION_COLUMNS)
    tx.execute(_INSERT, dict(zip(names, (study, *rows.intervention_row(done)), strict=True)))


def this_user() -> str:
    """Return user and host of this process."""
    from getpass import getuser  # noqa: PLC0415 - only who steers needs it

    try:
        name = getuser()
    except (KeyError, OSError, ImportError):  # a container often has no name for its user
        name = str(os.getuid())
    return f"{name}@{os.uname().nodename}"
