"""The process that checks a loop of the user's own: a script that asks a study for jobs.

The script runs in the main thread, from its first line on, against a private store; the check runs
in another one, and what it wants to have trained is the script's next job.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from queue import Queue
from typing import Any

from evolvent import studies
from evolvent.core.study import StudyRecord
from evolvent.engines import ask
from evolvent.engines.job import Job
from evolvent.errors import ConfigError, StudyExists, TrainableError
from evolvent.store import open_store
from evolvent.store.protocol import Store
from evolvent.testing.check import check_trainable
from evolvent.testing.check_report import failed


class _LoopJob(Job):
    """A job of the check, as a loop has it: what its `with` block came to goes to the check."""

    _loop: Loop

    def __enter__(self) -> _LoopJob:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self._loop.answer(self.metrics if error is None else error)
        return isinstance(error, Exception)  # the loop is to go on: the check says what it means


class Loop:
    """What both threads share; called with a job, it is the trainable of the check.

    Attributes:
        results: of the jobs: metrics, or what was raised.
        over: the check has come to its end.
    """

    def __init__(self, check: Callable[[Loop, StudyRecord], None]) -> None:
        self.results: Queue[Any] = Queue()
        self.over = threading.Event()
        self._check = check
        self._jobs: Queue[Job | None] = Queue()
        self._thread: threading.Thread | None = None
        self._open: Job | None = None  # handed out, and not answered

    def __call__(self, job: Job) -> Any:
        self._jobs.put(job)
        result = self.results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def next_job(self, store: Store, study: int, **_: object) -> _LoopJob | None:
        """Return the next job of the check, which begins with the first; None at its end."""
        if self._thread is None:
            record = store.status(study).record
            self._thread = threading.Thread(target=self._run, args=(record,), daemon=True)
            self._thread.start()
        if self._open is not None:
            self.answer(TrainableError(f"job {self._open.id} was not used in a `with` block"))
        job = self._open = None if self.over.is_set() else self._jobs.get()
        if job is None:
            return None
        asked = _LoopJob.__new__(_LoopJob)
        vars(asked).update(vars(job), _loop=self)
        return asked

    def answer(self, result: Any) -> None:
        """Tell the check what became of the job."""
        self._open = None
        self.results.put(result)

    @property
    def asked(self) -> bool:
        """Whether the script has asked for a job."""
        return self._thread is not None

    def _run(self, record: StudyRecord) -> None:
        try:
            self._check(self, record)
        finally:
            self.over.set()
            self._jobs.put(None)


def run(_: object, __: object, task: dict[str, Any], say: Callable[[Any], None]) -> None:
    """Run the script that `task` names, and check it meanwhile.

    Raises:
        ConfigError: the script asks for no job.
    """
    options = dict(task["check"])
    script = options.pop("script")
    errors: list[BaseException] = []

    def check(loop: Loop, record: StudyRecord) -> None:
        try:
            check_trainable(
                loop, record.space, metric=record.metric, algorithm=record.algorithm, form="loop",
                on_proof=lambda proof: say({"proof": asdict(proof)}),
                on_progress=lambda progress: say({"progress": asdict(progress)}),
                **options,
            )  # fmt: skip
        except BaseException as e:  # noqa: BLE001 - raised in the main thread
            errors.append(e)

    loop = Loop(check)
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    why = ""
    with _private_studies(loop):
        try:
            runpy.run_path(script, run_name="__main__")
        except BaseException as e:
            if not loop.asked:
                raise
            # Without any job done, what comes after the loop finds nothing.
            why = "" if loop.over.is_set() else f": {type(e).__name__}: {e}"
    if errors:
        raise errors[0]
    if not loop.asked:
        raise ConfigError(f"{script} asks for no job: wanted `study.next_job(...)` in a loop")
    if not loop.over.is_set():
        seen = f"the loop has ended before next_job() gave None{why}"
        say({"proof": asdict(failed("contract", seen))})


@contextlib.contextmanager
def _private_studies(loop: Loop) -> Iterator[None]:
    """Let all studies of this process be in a private store, and the loop hand out their jobs."""
    private, open_it = open_store("memory://"), studies._open

    def open_privately(store: str | Store, *, create: bool) -> Store:
        if not create:  # one that is there is asked as it was made
            for status in open_it(store, create=False).studies():
                with contextlib.suppress(StudyExists):
                    private.create_study(status.record)
        return private

    before = ask.ask
    studies._open, ask.ask = open_privately, loop.next_job  # type: ignore[assignment]
    try:
        yield
    finally:
        studies._open, ask.ask = open_it, before
        private.close()
