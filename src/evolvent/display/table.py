"""The population as a table: one row a member, as many hyperparameters as fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from evolvent.core.records import JobRecord, JobState
from evolvent.display.columns import LONGEST_NAME, Column, as_table, fitting, short_names
from evolvent.display.words import NOTHING, compact, shortened
from evolvent.store.records import LOST, MemberView, StudyState, StudyStatus

SCORE_DIGITS = 4
STATE_STYLES = {
    "running": "cyan",
    LOST: "yellow",
    "failed": "red",
    "cancelled": "yellow",
    "queued": "dim",
    "waiting": "dim",
    "ended": "dim",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One member; `current` is what it is at, or was at last."""

    member: int
    round: int
    state: str
    newest: JobRecord | None
    current: JobRecord

    @property
    def score(self) -> float | None:
        return self.newest.score if self.newest is not None else None

    @property
    def failed(self) -> bool:
        return self.newest is not None and self.newest.state is JobState.FAILED


def study_table(
    status: StudyStatus, members: Iterable[MemberView], *, width: int, height: int | None = None
) -> Table:
    """Return the members of a study as a table; the one with the best score stands out.

    Args:
        status: how the study stands, read before the members.
        members: its members; hyperparameters flat.
        width: characters there are; hyperparameters that do not fit are counted, not squeezed.
        height: lines there are; when the members need more, the best come first and the rest are
            counted. None: show all, by number.
    """
    rows = [row for view in members if (row := _row(view, status)) is not None]
    shown = _fitting(rows, height)
    leader = min((row for row in rows if row.score is not None), key=_rank, default=None)
    fixed = _fixed_columns(status, shown)
    jobs = [row.current for row in shown]
    donors = ["" if job.donor is None else f"<- {job.parent}" for job in jobs]
    copied = Column("copied", donors, "left", style="magenta")
    room = width - sum(column.width for column in [*fixed, copied])
    columns = [*fixed, *fitting(_hyperparameters(status, shown), room), copied]
    styles = ["bold green" if row is leader else "" for row in shown]
    table = as_table(columns, row_styles=styles)
    if len(shown) < len(rows):
        table.caption = f"+{len(rows) - len(shown)} more members"
    return table


def _row(view: MemberView, status: StudyStatus) -> _Row | None:
    current = view.current
    if current is None:
        return None
    if view.open is not None:
        state = status.shown_state(current)
        return _Row(current.member, current.round, state, view.newest, current)
    next_round = current.round + 1
    waits = next_round < status.record.rounds and status.state is StudyState.OPEN
    return _Row(current.member, next_round, "waiting" if waits else "ended", view.newest, current)


def _fitting(rows: list[_Row], height: int | None) -> list[_Row]:
    chrome = 2  # the titles and the rule below them
    if height is None or len(rows) + chrome <= height:
        return sorted(rows, key=lambda row: row.member)
    return sorted(rows, key=_rank)[: max(1, height - chrome - 1)]


def _rank(row: _Row) -> tuple[bool, bool, float, int]:
    return (row.failed, row.score is None, -(row.score or 0.0), row.member)


def _fixed_columns(status: StudyStatus, rows: list[_Row]) -> list[Column]:
    record = status.record
    return [
        Column("member", [str(row.member) for row in rows]),
        Column("round", [f"{row.round}/{record.rounds}" for row in rows]),
        Column("state", [row.state for row in rows], "left", STATE_STYLES),
        Column(
            shortened(record.metric, LONGEST_NAME),
            [_value(row, status) for row in rows],
            styles={"failed": "red"},
        ),
    ]


def _value(row: _Row, status: StudyStatus) -> str:
    if row.failed:
        return "failed"
    if row.score is None:
        return NOTHING
    return compact(status.record.score(row.score), digits=SCORE_DIGITS)


def _hyperparameters(status: StudyStatus, rows: list[_Row]) -> list[Column]:
    """Return one column for each; those that are equal for all come last, to be cut first."""
    values = [row.current.hyperparameters for row in rows]
    columns = []
    for name, title in short_names(list(status.record.space)).items():
        words = any(isinstance(v.get(name), str) for v in values)
        cells = [compact(v.get(name)) for v in values]
        columns.append(Column(title, cells, "left" if words else "right"))
    return sorted(columns, key=lambda column: len(rows) > 1 and len(set(column.cells)) == 1)
