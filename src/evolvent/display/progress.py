"""A run while it runs: a live table in a terminal, plain lines when piped."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolvent.display.stream import SafeConsole
from evolvent.display.table import SCORE_DIGITS, study_table
from evolvent.display.words import compact, duration
from evolvent.errors import StoreError
from evolvent.store.records import MemberView, StudyStatus

_LINE_AFTER_S, _LINE_AT_LEAST_EVERY_S = 1.0, 10.0
_SHARE_OF_READING = 0.02
"""Reading all members takes at most this share of the time, however many there are."""
_READ_AT_LEAST_EVERY_S = 60.0

_ECHO = len("^C^C")
"""Columns left free at the end of the last line: what the terminal echoes there must not wrap."""

Members = Callable[[], list[MemberView]]


class Progress:
    """An observer of a run that shows it to a person.

    In a terminal it redraws a table and a bar in place. Elsewhere (a pipe, a file, a notebook) it
    prints a line when the population has finished a round, without any control characters.
    """

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Show runs on a console, by default on standard output; `clock` counts seconds."""
        self._console = console if console is not None else SafeConsole()
        self._clock = clock
        self._live: Live | None = None
        self._members: Members | None = None
        self._views: list[MemberView] = []
        self._status: StudyStatus | None = None  # as of `_views`
        self._read_at = self._line_at = self._started_at = float("-inf")
        self._finished_before = 0
        self._line_shown = (0, 0)

    def start(self, status: StudyStatus) -> None:
        """Begin to show a run."""
        self._started_at = self._line_at = self._clock()
        self._finished_before = status.n_finished
        self._line_shown = (_round(status), status.n_finished)
        if self._console.is_interactive and self._console.file.isatty():
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        before = self._finished_before
        self._print(headline(status).append(f"  from job {before} on" if before else ""))

    def update(self, status: StudyStatus, members: Members) -> None:
        """Show how the run stands; cheap enough to be called several times a second."""
        self._members = members
        if self._live is None:
            self._maybe_line(status)
            return
        if self._clock() >= self._read_at:
            self._read(status, members)
        self._live.update(self._renderable(status), refresh=True)

    def line(self, text: str) -> None:
        """Print a line above the table."""
        last = text.rstrip("\r\n").rpartition("\r")[2]  # a bar that redraws itself: its last state
        self._print(Text.from_ansi(last))

    def finish(self, status: StudyStatus, summary: str) -> None:
        """Show the end of a run and let go of the terminal."""
        if self._live is not None and self._members is not None:
            self._read(status, self._members)
            self._live.update(self._renderable(status), refresh=True)
        self.close()
        self._print(Text(f"{summary}{_best(status)}"))

    def close(self) -> None:
        """Let go of the terminal; after an error too. Doing it twice does no harm."""
        # Forgotten first: when stopping raises, as on Ctrl-C, a second close must not do it again.
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)

    def _read(self, status: StudyStatus, members: Members) -> None:
        # The longer reading takes, the longer it is put off: a large population slows nothing down.
        before = self._clock()
        try:
            self._status, self._views = status, members()
        except StoreError:  # the store is away for a moment: the table stays as it was
            return
        now = self._clock()
        # Not for longer than that: it may have taken long because somebody had locked the store.
        self._read_at = now + min((now - before) / _SHARE_OF_READING, _READ_AT_LEAST_EVERY_S)

    def _renderable(self, status: StudyStatus) -> RenderableType:
        around = 4  # the headline, the bar, the line of the prompt, and one to spare
        table = study_table(
            # By a clock that has gone on since they were read, workers might seem lost.
            self._status or status, self._views,
            width=self._console.width, height=self._console.height - around,
        )  # fmt: skip
        return Group(table, self._bar(status))

    def _bar(self, status: StudyStatus) -> Table:
        room = max(1, self._console.width - _ECHO)
        grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        grid.width = room
        grid.add_column(ratio=1)
        for _ in range(3):
            grid.add_column(no_wrap=True)
        total, finished = status.n_total, status.n_finished
        bar = ProgressBar(total=total, completed=min(finished, total), complete_style="green")
        best, left_s = Text(_best(status).lstrip(), style="green"), self._left_s(status)
        left = Text("" if left_s is None else f"{duration(left_s)} left")
        grid.add_row(bar, f"{finished}/{total} jobs", best, left)
        return grid

    def _maybe_line(self, status: StudyStatus) -> None:
        now, shown = self._clock(), (_round(status), status.n_finished)
        rounds_passed = shown[0] > self._line_shown[0] and now >= self._line_at + _LINE_AFTER_S
        long_silent = shown != self._line_shown and now >= self._line_at + _LINE_AT_LEAST_EVERY_S
        if rounds_passed or long_silent:
            self._line_at, self._line_shown = now, shown
            left_s = self._left_s(status)
            eta = "" if left_s is None else f"  eta {duration(left_s)}"
            rounds = f"round {_round(status)}/{status.record.rounds}"
            self._print(Text(f"{rounds}{_best(status)}{_failed(status)}{_lost(status)}{eta}"))

    def _left_s(self, status: StudyStatus) -> float | None:
        """Estimate the seconds left from the pace since the start; None while there is no pace."""
        n_new = status.n_finished - self._finished_before
        passed_s = self._clock() - self._started_at
        return status.left_s(passed_s / n_new) if n_new > 0 and passed_s > 0 else None


def headline(status: StudyStatus) -> Text:
    """Return what a study is, in one line."""
    record = status.record
    goal = "maximise" if record.mode == "max" else "minimise"
    members = f"{status.members} member{'s' if status.members != 1 else ''}"
    rounds = f"{record.rounds} round{'s' if record.rounds != 1 else ''}"
    return Text.assemble((record.name, "bold"), f"  {goal} {record.metric}  {members}, {rounds}")


def progress_line(status: StudyStatus) -> str:
    """Return how far a study is and what its best is, in one line."""
    return (
        f"{status.n_finished}/{status.n_total} jobs{_failed(status)}{_lost(status)}{_best(status)}"
    )


def _round(status: StudyStatus) -> int:
    """Return how many rounds the population has finished, on average and rounded down."""
    return status.n_finished // max(1, status.members)


def _best(status: StudyStatus) -> str:
    if status.best is None or status.best_value is None:
        return ""
    value = compact(status.best_value, digits=SCORE_DIGITS)
    return f"  best {status.record.metric} {value}{status.best_note} (member {status.best.member})"


def _failed(status: StudyStatus) -> str:
    return f"  {status.n_failed} failed" if status.n_failed else ""


def _lost(status: StudyStatus) -> str:
    return f"  {status.lost} lost" if status.lost else ""
