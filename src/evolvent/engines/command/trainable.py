"""Training code of any language: a command that runs once for every job."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import Any

from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.engines.command.process_group import ProgramExit, run_program
from evolvent.engines.command.template import JOB_VALUES, Template, variable
from evolvent.engines.job import Job
from evolvent.engines.place import copies
from evolvent.engines.signals import asked_to_end, killed_from_outside, signal_name
from evolvent.errors import ConfigError, TrainableError, UnknownName
from evolvent.store.records import Failure, FailureKind

METRICS_FILE = "metrics.json"
_ONE_BY_ONE_S = 0.2

_BARE_WORD = re.compile(r":\s*(?P<minus>-?)(?P<word>nan|inf|infinity)\b", re.IGNORECASE)
"""How C, awk, Lua and many others print them."""


class Command:
    """A trainable: `study.join(Command([...], study.record), options=…)`.

    The command gets its job by the placeholders among its words, by environment variables
    (`EVOLVENT_CHECKPOINT`, …; one for every name in `template.JOB_VALUES`), and whole as JSON in
    the file `$EVOLVENT_JOB_FILE`. It loads the checkpoint unless there is none, trains one round,
    saves into the directory, and gives its metrics: as a JSON object in `metrics.json` there, which
    does not become part of the checkpoint, or else in the last line of its output that is one.

    A command that ends with an exit code other than 0, crashes or hangs fails its job, which is
    tried again as after an exception; killed from outside, the job is lost and given out again.
    After `max_failures` of these without a job done in between, one more counts against nobody: it
    ends the worker, for then it is rather the command that is broken than a member. Those that
    SIGINT or SIGTERM has ended are not counted.

    Args:
        words: the program and its arguments, with placeholders; no shell reads them.
        record: the study.
        hang_s: seconds without a byte of output that count as a hang; None: any.
        ignore_errors: let members fail, however many there are.

    Raises:
        ConfigError: there is no such program or no such placeholder; names what there is.
    """

    def __init__(
        self,
        words: Sequence[str],
        record: StudyRecord,
        *,
        hang_s: float | None = None,
        ignore_errors: bool = False,
    ) -> None:
        self._template = check_command(words, record.space)
        self._hang_s = hang_s
        self._metric, self._space = record.metric, record.space
        self._max_failures = math.inf if ignore_errors else record.max_failures
        self._failures_in_a_row = 0

    def __call__(self, job: Job) -> dict[str, Any] | Failure:
        """Run the command for a job; return its metrics, or how it failed.

        Raises:
            TrainableError: it wrote no metrics, cannot be started, or fails again and again.
            LeaseLost: the job was given to another; the command has been killed.
        """
        hyperparameters = self._space.flat(job.hyperparameters)
        with _as_text(job) as values:
            variables = {variable(name): value or "" for name, value in values.items()}
            ended = run_program(
                self._template.fill(values, hyperparameters),
                environment={**os.environ, **variables},
                beat=job.heartbeat,
                hang_s=self._hang_s,
            )
        failure = self._failure(ended)
        if failure is not None and asked_to_end(ended.code):
            # Whoever ends all processes of a job, one by one, may have yet to come to ours, which
            # then starts nothing more.
            time.sleep(_ONE_BY_ONE_S)
            return failure
        if failure is not None:
            # Here too, as the last of several ends the worker with its words.
            failure = copies.explained(failure, job.checkpoint, job.directory)
            return self._count_failure(job, failure)
        metrics = self._metrics(job, ended)
        self._failures_in_a_row = 0
        return metrics

    def _failure(self, ended: ProgramExit) -> Failure | None:
        if ended.hung:
            what = f"the command printed nothing for {self._hang_s:g} s and was killed"
        elif ended.code < 0:
            what = f"the command was killed by {signal_name(-ended.code)}"
        elif ended.code:
            what = f"the command ended with exit code {ended.code}"
        else:
            return None
        outside = killed_from_outside(ended.code) or asked_to_end(ended.code)
        lost = outside and not ended.hung  # the signal was ours then
        kind = FailureKind.LOST if lost else FailureKind.RAISED
        lines = [line for line in ended.tail if line.strip()]
        if not lines:
            return Failure(kind, what, f"{what}, without a word")
        end = "\n".join(lines)
        return Failure(
            kind, f"{what}: {lines[-1].strip()}", f"{what}. The end of its output:\n{end}"
        )

    def _count_failure(self, job: Job, failure: Failure) -> Failure:
        self._failures_in_a_row += 1
        if self._failures_in_a_row <= self._max_failures:
            return failure
        times = f" {self._failures_in_a_row} times in a row" if self._failures_in_a_row > 1 else ""
        raise TrainableError(
            f"the command failed{times}; job {job.id}, the last, is back in the queue: "
            f"{failure.traceback}\nMend the command and start again; if members may fail: "
            "--ignore-errors"
        )

    def _metrics(self, job: Job, ended: ProgramExit) -> dict[str, Any]:
        path = job.directory / METRICS_FILE
        # Removed, for what is left in the directory becomes the checkpoint: a command that starts
        # by copying its checkpoint would report these metrics again in the next round.
        if path.is_file():
            found = _parse_object(path.read_text(errors="replace"))
            path.unlink()
            source = METRICS_FILE
        else:
            found = next(filter(None, map(_parse_object, reversed(ended.objects))), None)
            source = "output"
        if found is None:
            raise TrainableError(
                f"job {job.id}: no metrics in the {source} of the command: wanted a JSON object "
                f'such as {{"{self._metric}": 0.5}} as its last line, or as {METRICS_FILE} in its '
                f"directory ({{directory}}, ${variable('directory')})"
            )
        # JSON has no NaN: null is what JavaScript writes for it.
        return {**found, self._metric: math.nan} if found.get(self._metric, 0) is None else found


def check_command(words: Sequence[str], space: Space) -> Template:
    """Return a command that can be run for the jobs of a space.

    Raises:
        ConfigError: there is no such program or no such placeholder; names what there is.
    """
    template = Template.parse(words, space)
    program = words[0]
    if "{" in program or shutil.which(program):
        return template
    if os.path.isfile(program):
        raise ConfigError(f"command: {program!r} may not be executed: chmod +x it")
    hint = ": for a line of shell, say: -- sh -c '…'" if any(map(str.isspace, program)) else ""
    raise UnknownName(f"command: no program {program!r} here or on the PATH{hint}")


@contextmanager
def _as_text(job: Job) -> Iterator[dict[str, str | None]]:
    """Return the values of a job by name, all of which are in a file meanwhile."""
    values: dict[str, Any] = {
        name: getattr(job, name) for name in JOB_VALUES if name not in ("job", "job_file")
    }
    values["job"] = job.id
    plain = {n: v if isinstance(v, int) or v is None else str(v) for n, v in values.items()}
    with NamedTemporaryFile("w", prefix=f"evolvent-{job.id}-", suffix=".json") as file:
        json.dump({**plain, "hyperparameters": job.hyperparameters}, file)
        file.flush()
        plain["job_file"] = file.name
        yield {name: None if value is None else str(value) for name, value in plain.items()}


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(_BARE_WORD.sub(_to_json_word, text))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _to_json_word(bare: re.Match[str]) -> str:
    return ": NaN" if bare["word"].lower() == "nan" else f": {bare['minus']}Infinity"
