"""Deciding again: what made a job, derived from the log by the functions that made it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evolvent.analysis.explain.log_lines import LogLines
from evolvent.analysis.explain.snapshot import PopulationSnapshot
from evolvent.core.heads import Head, HeadState, compared_with, decided_head
from evolvent.core.population import Population
from evolvent.core.records import Cause, JobId, JobRecord, JobState, Member
from evolvent.errors import EvolventError

_TRIES = 4  # lines per member at which a decision that was put off is looked for
_TRIES_LEAST = 64


@dataclass(frozen=True, slots=True)
class Redecision:
    """A decision, taken again.

    Attributes:
        before: the job after which the member had to go on.
        me: the member, as the algorithm saw it.
        population: all of them, likewise; not to be changed.
        seen: the newest report that the decision saw.
        agrees: whether the log says the same; None when it could not be decided again.
        instead: what came out when the log says something else, or why nothing did.
        damage: what the log adds to the decision of a job that fell back to an ancestor; "" where
            the log says something else.
    """

    before: JobRecord
    me: Member
    population: Population
    seen: JobRecord
    agrees: bool | None
    instead: str = ""
    damage: str = ""


def decide_again(job: JobRecord, lines: LogLines) -> Redecision:
    """Take the decision behind a job of round 1 or later again.

    An asynchronous study decides when a worker claims the job, for the first time if it was lost
    since; for a failed member when there is a donor. A synchronous one decides when the last member
    of a round has reported, or when more rounds are asked for. The log does not say what it held
    then, so the snapshots that the decision may have seen are tried in turn, the likeliest first.
    """
    before = lines.store.job(lines.study, JobId(job.member, job.round - 1))
    for snapshot in _snapshots(job, before, lines):
        decision = _decide_at(job, before, snapshot, lines)
        if decision.agrees is not False:
            return decision
    # Anew: the first snapshot has been moved on since.
    return _decide_at(job, before, next(_snapshots(job, before, lines)), lines)


def _decide_at(
    job: JobRecord, before: JobRecord, snapshot: PopulationSnapshot, lines: LogLines
) -> Redecision:
    me = snapshot.population.member(job.member)
    damage = ""
    try:
        head = decided_head(lines.record, me, parent=before.parent, population=snapshot.population)
    except EvolventError as e:
        agrees, instead = None, str(e)
    else:
        start = "fresh weights" if head.parent is None else head.parent
        agrees, instead = _matches_log(head, job), f"{head.reason} (from {start})"
        if agrees and job.cause is Cause.FELL_BACK:
            damage = job.reason.removeprefix(_as_prefix(head.reason))
    peers = compared_with(lines.record, me, snapshot.population)
    seen = lines[snapshot.line]
    return Redecision(before, me, peers, seen, agrees, instead, damage)


def _matches_log(head: Head, job: JobRecord) -> bool:
    fell_back, cancelled = job.cause is Cause.FELL_BACK, job.state is JobState.CANCELLED
    # The rank is in no column, so the words of both decisions are compared, whatever they are: of
    # the moments at which a member may have decided to go on, they tell the right one.
    same_words = job.reason == head.reason
    if fell_back:
        same_words = job.reason.startswith(_as_prefix(head.reason))
    return (
        head.state is (HeadState.ENDED if cancelled else HeadState.QUEUED)
        and same_words
        and dict(head.hyperparameters) == dict(job.hyperparameters)
        and (fell_back or head.parent == job.parent)
    )


def _as_prefix(reason: str) -> str:
    """Return what `Store.reparent` has put before the reason that it was given."""
    return f"{reason}; " if reason else ""


def _snapshots(job: JobRecord, before: JobRecord, lines: LogLines) -> Iterator[PopulationSnapshot]:
    """Yield the moments at which the job may have been decided; each is valid until the next."""
    own = lines.find(before)
    # Bounded, so that a log that cannot be explained costs no more than a look around its line.
    tries = max(_TRIES_LEAST, _TRIES * len(lines.views))
    last = _last_before_start(lines, own, own + tries, job)
    likely = own if before.score is None else last
    if lines.record.synchronous:
        # The last line before the first one of the round that was decided on.
        likely = next(
            (n - 1 for n in range(own + 1, last + 1) if lines[n].round >= job.round), last
        )
    elif before.score is not None and job.started_at is not None:
        likely = lines.last_by(job.started_at, first=own)  # however long it was queued
    yield PopulationSnapshot(lines, likely)
    snapshot = PopulationSnapshot(lines, own)
    yield snapshot
    yield from _advanced(snapshot, last)


def _advanced(snapshot: PopulationSnapshot, last: int) -> Iterator[PopulationSnapshot]:
    while snapshot.line < last:
        snapshot.advance()
        yield snapshot


def _last_before_start(lines: LogLines, own: int, most: int, job: JobRecord) -> int:
    """Return the last line, at least `own` and at most `most`, reported before the job started."""
    most = min(most, len(lines) - 1)
    if job.started_at is None:
        return most
    return next(
        (n - 1 for n in range(own + 1, most + 1) if (lines[n].finished_at or 0) > job.started_at),
        most,
    )
