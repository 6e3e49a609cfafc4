"""Replay: train fresh models under a schedule, and see whether the schedule made the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evolvent.analysis.comparison.replay_report import Original, ReplayArm, ReplayReport
from evolvent.analysis.explain.sentences import last_line
from evolvent.analysis.log import Log
from evolvent.analysis.schedule.schedule import Schedule
from evolvent.core.algorithms import Replay
from evolvent.core.distributions import Constant
from evolvent.core.records import JobState
from evolvent.core.rng import stream
from evolvent.core.study import StudyRecord
from evolvent.derived_studies import find_or_create
from evolvent.errors import AllMembersFailed, ConfigError
from evolvent.result import Result
from evolvent.store.protocol import Store
from evolvent.store.records import StudyState, StudyStatus
from evolvent.validation import check_count, check_flag, check_name, cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What is to be replayed; see `Study.replay`."""

    schedule: Schedule | str | Path | None
    seeds: int
    rounds: int | None
    name: str | None
    last_only: bool


def replay(
    store: Store, status: StudyStatus, request: ReplayRequest, *, train: Callable[[int], Result]
) -> ReplayReport:
    """Train the arms of a replay, or go on with them, and report.

    They are written beside the study; `train` runs a study, given its number, until it is over.
    """
    wanted = _schedule(store, status, request.schedule)
    schedule = _fit(wanted, status.record, request.rounds)
    arms = [_arm_record(status.record, schedule, request)]
    if check_flag("last_only", request.last_only) and len(schedule.segments) > 1:
        name = check_name("name", f"{arms[0].name}-last")
        arms.append(replace(_arm_record(status.record, schedule.last, request), name=name))
    ids = find_or_create(store, *arms)
    reports: list[ReplayArm] = []
    interrupted = False
    for id in ids:
        interrupted = _train(store, id, train)
        reports.append(_arm(store, id, schedule.total))
        if interrupted or len(reports[-1].failed) == request.seeds:
            break  # the other arm would have nothing to be held against
    return ReplayReport(
        metric=status.record.metric,
        mode=status.record.mode,
        schedule=schedule,
        original=_original(store, status, schedule=wanted),
        replay=reports[0],
        last=reports[1] if len(reports) > 1 else None,
        interrupted=interrupted,
    )


def _schedule(store: Store, status: StudyStatus, wanted: Schedule | str | Path | None) -> Schedule:
    """Return the wanted schedule; that of the best job by default."""
    if wanted is None:
        return Result(status, store).best.schedule
    if isinstance(wanted, Schedule):
        return wanted
    if not isinstance(wanted, (str, Path)):
        raise ConfigError(
            f"schedule: got {type(wanted).__name__} {cut(wanted)}, wanted a Schedule or a file"
        )
    if Path(wanted).suffix != ".txt":  # what Ray writes
        return Schedule.load(wanted)
    read = Schedule.from_ray(wanted)
    return read.only(*(name for name in read.names if name in status.record.space))


def _fit(schedule: Schedule, record: StudyRecord, rounds: int | None) -> Schedule:
    """Return the schedule with as many rounds as wanted and every value checked by the space."""
    if rounds is not None:
        check_count("rounds", rounds, least=1)
    elif schedule.unit == "rounds":
        rounds = schedule.total
    else:
        rounds = record.rounds
    # What the space has no choice about, schedules from elsewhere do not know.
    fixed = {name: d.value for name, d in record.space.items() if isinstance(d, Constant)}
    segments = []
    for s in schedule.segments:
        values = record.space.nest({**fixed, **record.space.flat(s.hyperparameters)})
        segments.append(replace(s, hyperparameters=values))
    completed = Schedule(tuple(segments), schedule.unit).check(record.space)
    if (rounds, "rounds") == (completed.total, completed.unit):
        return completed
    return completed.rescaled(rounds, unit="rounds")


def _arm_record(record: StudyRecord, schedule: Schedule, request: ReplayRequest) -> StudyRecord:
    """Return the study that trains one fresh model for each seed under a schedule.

    The seeds are new ones, but the same for every replay of a study: arms can be compared seed by
    seed, and none gets the initial weights that the original was lucky with.
    """
    flat = [(s.start, record.space.flat(s.hyperparameters)) for s in schedule.segments]
    algorithm, seeds = Replay.of(flat), check_count("seeds", request.seeds, least=1)
    algorithm.validate(record.space, seeds)
    name = request.name if request.name is not None else f"{record.name}-replay"
    return replace(
        record,
        name=check_name("name", name),
        algorithm=algorithm,
        population=seeds,
        rounds=schedule.total,
        initial=(algorithm.at(0),) * seeds,
        seed=int(stream(record.seed, "replay", 0, 0).integers(2**31)),
        target=None,
    )


def _train(store: Store, id: int, train: Callable[[int], Result]) -> bool:
    """Train an arm until it is over; return whether it was cut short.

    An arm in which all have failed stays so: to start a member again would skip a round.
    """
    if store.status(id).state is StudyState.FAILED:
        return False
    try:
        result = train(id)
    except AllMembersFailed:
        return False
    return result.interrupted or result.status.state is not StudyState.FINISHED


def _original(store: Store, status: StudyStatus, *, schedule: Schedule) -> Original:
    if status.best is None:
        return Original(status.record.name, None, None, 0, 0, own=False)
    best = Result(status, store).best
    made_by = best.schedule
    return Original(
        study=status.record.name,
        job=status.best,
        value=best.value,
        rounds=made_by.total,
        jobs=status.counts[JobState.DONE],
        own=schedule == made_by,
    )


def _arm(store: Store, id: int, rounds: int) -> ReplayArm:
    """Return what an arm has come to after so many rounds; an older call may have trained more."""
    log = Log.read(store, id)
    record = log.status.record
    scores: list[float | None] = []
    failed = []
    for member in range(record.population):
        rows = log.rows[member][:rounds] if member < len(log.rows) else np.empty(0, np.int64)
        rows = rows[rows >= 0]
        failed_rows = rows[log.failed[rows]]
        completed = len(rows) == rounds and not len(failed_rows)
        scores.append(record.score(float(log.score[rows[-1]])) if completed else None)
        if len(failed_rows):
            job = log.id(int(failed_rows[0]))
            error = store.job(id, job).error
            why = f": {last_line(error):.120}" if error else ""
            failed.append(f"{job} of {record.name}{why}")
    return ReplayArm(record.name, tuple(scores), tuple(failed))
