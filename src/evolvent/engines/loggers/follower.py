"""Loggers beside a run: each follows the log in a thread of its own and never stops training."""

from __future__ import annotations

import threading
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial

from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.engines.loggers.protocol import Entry, Logger, check_loggers
from evolvent.engines.observer import Observer
from evolvent.store.backoff import Backoff
from evolvent.store.protocol import Store
from evolvent.store.records import MemberView, StudyState, StudyStatus

_PAGE = 1000
_LOOK_EVERY_S, _RETRY_AT_MOST_EVERY_S = 1.0, 60.0
_SILENT_WAIT_S = 2.0  # at the end of a run, before we say what is being waited for


class LogReader:
    """Reads a log from its start on, as entries; keeps eight bytes of every job."""

    def __init__(self, store: Store, study: int) -> None:
        self._store, self._study = store, study
        self._after = 0
        self._ages: dict[int, array[int]] = defaultdict(lambda: array("i"))
        self._starts: dict[int, array[int]] = defaultdict(lambda: array("i"))
        self._newest: dict[int, Hyperparameters] = {}

    def read(self) -> list[Entry]:
        """Return the next entries, in the order of the log; none when there are none yet."""
        finished = (JobState.DONE, JobState.FAILED)
        jobs = self._store.jobs(self._study, states=finished, after=self._after, limit=_PAGE)
        entries = [self._entry(self._after + i, job) for i, job in enumerate(jobs)]
        self._after += len(jobs)
        return entries

    def _entry(self, number: int, job: JobRecord) -> Entry:
        parent, goes_on = job.parent, job.parent == JobId(job.member, job.round - 1)
        age = 1 if parent is None else self._ages[parent.member][parent.round] + 1
        start = self._starts[job.member][job.round - 1] if goes_on else job.round
        self._ages[job.member].append(age)
        self._starts[job.member].append(start)
        before = self._newest.get(job.member)
        self._newest[job.member] = job.hyperparameters
        points = partial(self._store.points, self._study, job.id)
        return Entry(number, job, age, JobId(job.member, start), before, points)


class LogFollower:
    """Brings one logger to where the log is, again and again.

    Attributes:
        n_jobs, n_copies: how much of the log the logger has got so far.
    """

    def __init__(self, store: Store, study: int, logger: Logger) -> None:
        self.logger = logger
        self._store, self._study = store, study
        self._reader: LogReader | None = None
        self.n_jobs = self.n_copies = 0

    def catch_up(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Write what the logger lacks; after a failure, begin by finding out what that is.

        Args:
            until: asked after every page: whether to leave the rest for later.
        """
        if self._reader is None:
            self.logger.open(self._store.status(self._study))
            self.n_jobs = self.n_copies = 0
            self._reader = LogReader(self._store, self._study)
        try:
            while page := self._reader.read():
                self.logger.write(page)
                self.n_jobs += len(page)
                self.n_copies += sum(entry.copied is not None for entry in page)
                if until():
                    return
        except BaseException:
            # How much of the page was written is not known: begin with what the logger finds.
            self._reader = None
            raise

    def follow(self, stop: threading.Event) -> None:
        """Write as the log grows, until the study is over or `stop` is set."""
        while True:
            # Asked first: what was reported before it was over is written after.
            is_over = self._store.status(self._study).state is not StudyState.OPEN
            self.catch_up(until=stop.is_set)
            if is_over or stop.wait(_LOOK_EVERY_S):
                return

    def close(self) -> None:
        """Make everything last."""
        self.logger.close(self._store.status(self._study))
        self._reader = None


class LoggerThread(threading.Thread):
    """One logger beside a run. What goes wrong is shown once, then tried again now and then."""

    def __init__(self, follower: LogFollower, send_message: Callable[[str], None]) -> None:
        super().__init__(name=f"evolvent logger: {follower.logger.place}", daemon=True)
        self.follower = follower
        self._send_message = send_message
        self._ending = threading.Event()
        self._pause_s = _LOOK_EVERY_S
        self._backoff = Backoff(2 * _LOOK_EVERY_S, _RETRY_AT_MOST_EVERY_S)
        self._failing = False

    def run(self) -> None:
        while not self._ending.wait(self._pause_s):
            self._try(self.follower.catch_up)
        if not self._try(self._end):
            self._send_message(
                f"{self.follower.logger.place}: not all is written; "
                "`evolvent log` writes the rest from the study's own log"
            )

    def end(self) -> None:
        """Write what is left and close; does not wait for it."""
        self._ending.set()

    def _end(self) -> None:
        try:
            self.follower.catch_up()
        finally:
            self.follower.close()

    def _try(self, do: Callable[[], None]) -> bool:
        try:
            do()
        except (Exception, SystemExit) as e:  # noqa: BLE001 - whatever it does, training goes on
            if not self._failing:
                message = f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
                self._send_message(
                    f"{self.follower.logger.place}: {message}; training goes on without it"
                )
            self._failing = True
            self._pause_s = self._backoff.pause_s()
            return False
        if self._failing:
            self._send_message(
                f"{self.follower.logger.place}: all is well again, nothing is missing"
            )
        self._failing, self._pause_s = False, _LOOK_EVERY_S
        self._backoff.restart()
        return True


class LoggingObserver:
    """An observer of a run that lets loggers follow it, too."""

    def __init__(self, inner: Observer, followers: Sequence[LogFollower]) -> None:
        self._inner = inner
        # The inner observer is called in one thread only: what logger threads have to say waits.
        self._messages: deque[str] = deque()
        self._threads = [LoggerThread(f, self._messages.append) for f in followers]
        self._ended = False

    def start(self, status: StudyStatus) -> None:
        """Begin to follow."""
        self._inner.start(status)
        self._start()

    def update(self, status: StudyStatus, members: Callable[[], list[MemberView]]) -> None:
        """Show how the run stands, and what the loggers had to say."""
        self._show()
        self._inner.update(status, members)

    def line(self, text: str) -> None:
        self._inner.line(text)

    def finish(self, status: StudyStatus, summary: str) -> None:
        """Wait until everything is written, then show the end."""
        self._start()  # a study that is over starts no run, but may lack in a logger
        self._end()
        self._inner.finish(status, summary)

    def close(self) -> None:
        """Wait until everything is written, also when the run ended by an error."""
        try:
            self._end()
        finally:
            self._inner.close()

    def _start(self) -> None:
        for thread in self._threads:
            if thread.ident is None:
                thread.start()

    def _end(self) -> None:
        if self._ended:  # or a Ctrl-C while we wait would be followed by another wait
            return
        self._ended = True
        for thread in self._threads:
            thread.end()
        since = time.monotonic()
        for thread in self._threads:
            wait_s = max(0.0, since + _SILENT_WAIT_S - time.monotonic())
            if thread.ident is None:
                continue
            thread.join(wait_s)
            if thread.is_alive():
                self._inner.line(f"writing the rest: {thread.follower.logger.place}")
                thread.join()
        self._show()

    def _show(self) -> None:
        while self._messages:
            self._inner.line(self._messages.popleft())


def with_loggers(
    observer: Observer, store: Store, study: int, loggers: Sequence[Logger]
) -> Observer:
    """Return an observer that lets loggers follow the run, too; they are checked here.

    Raises:
        ConfigError: a logger cannot write as asked.
    """
    checked, status = check_loggers(loggers), store.status(study)
    for logger in checked:
        logger.check(status)
    return LoggingObserver(observer, [LogFollower(store, study, logger) for logger in checked])
