"""What each member does next: from decisions to the one open job of a member. Pure.

Every store calls these functions inside the transaction that reports a job or gives one out, so
that all stores and engines breed alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from evolvent.core.population import Population
from evolvent.core.records import Cause, Copy, Hyperparameters, JobId, Keep, Member, Stop
from evolvent.core.rng import deferred, stream
from evolvent.core.study import StudyRecord


class HeadState(StrEnum):
    """What a member is up to."""

    QUEUED = "queued"  # its next job can be claimed; it may have to be decided then
    RUNNING = "running"  # a worker holds a lease on its job
    WAITING = "waiting"  # for the others at the end of a round, or, failed, for a healthy donor
    ENDED = "ended"  # its rounds are done, or the algorithm stopped it


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a member's part of the log: its one open job, or why there is none.

    Attributes:
        round: the round of the open job; of the job to come while waiting or ended.
        parent: the job whose checkpoint the member goes on from; None for fresh weights.
        reason: why it goes on from there and with these hyperparameters, in words.
        cause: the same as a fact.
    """

    member: int
    round: int
    state: HeadState
    hyperparameters: Hyperparameters
    parent: JobId | None
    reason: str
    cause: Cause = Cause.UNKNOWN


def first_heads(study: StudyRecord) -> list[Head]:
    """Return the heads of a new study: round 0 of every member, given or drawn from the space."""
    return [first_head(study, member) for member in range(study.population)]


def first_head(study: StudyRecord, member: int, given: Hyperparameters | None = None) -> Head:
    """Return the first head of one member; what `given` leaves out is drawn from the space.

    `given` are flat hyperparameters chosen by hand; None takes `study.initial` where it has them.
    """
    if given is None:
        given = study.initial[member] if member < len(study.initial) else {}
    drawn = study.space.sample_initial(rng=stream(study.seed, "initial", member, 0))
    if not given:
        reason, cause = "drawn from the space", Cause.DRAWN
    elif len(given) == len(drawn):
        reason, cause = "given by hand", Cause.GIVEN
    else:
        reason = f"given by hand: {', '.join(given)}; the rest drawn from the space"
        cause = Cause.GIVEN_IN_PART
    return Head(member, 0, HeadState.QUEUED, {**drawn, **given}, None, reason, cause)


def next_head(study: StudyRecord, me: Member, *, parent: JobId | None) -> Head:
    """Return the head of `me`, which has just finished `me.round`: nothing is decided yet.

    In a synchronous study its member waits for the others. Else it decides when its next round
    begins, as in the source, when a worker claims it: by then the peers that it is compared with
    have reported, too, as far as there are fewer workers than members. A failed member, which has
    nothing to go on from, takes the first donor that there is.

    Args:
        study: the study; `rounds` as they are now.
        me: the member's new state.
        parent: the job it had started from, kept by a failed member that has no donor yet.

    Source: Jaderberg et al. 2017, arXiv:1711.09846, algorithm 1.
    """
    own = parent if me.failed else me.job
    if me.round + 1 >= study.rounds:
        state, reason = HeadState.ENDED, "rounds done"
    elif study.synchronous:
        state, reason = HeadState.WAITING, "end of round"
    elif me.failed:
        state, reason = HeadState.WAITING, "failed: waits for a healthy donor"
    else:
        state, reason = HeadState.QUEUED, "decides when its round begins"
    return Head(me.id, me.round + 1, state, me.hyperparameters, own, reason, Cause.UNDECIDED)


def decided_head(
    study: StudyRecord, me: Member, *, parent: JobId | None, population: Population
) -> Head:
    """Ask the algorithm what `me` does next and return it as a head.

    Args:
        study: the study.
        me: the member's newest state.
        parent: the job it had started from, as for `next_head`.
        population: the newest state of all, `me` included.
    """
    rng = deferred(study.seed, "decide", me.id, me.round)
    peers = compared_with(study, me, population)
    decision = study.algorithm.decide(me, peers, space=study.space, rng=rng)
    own = parent if me.failed else me.job
    state, values = HeadState.QUEUED, me.hyperparameters
    match decision:
        case Keep(hyperparameters=new):
            cause = Cause.KEPT
            if me.failed:
                state, cause = HeadState.WAITING, Cause.UNDECIDED
            elif new is not None and dict(new) != dict(values):
                values, cause = new, Cause.CHANGED
        case Copy(donor=donor, hyperparameters=values):
            own, cause = population.member(donor).job, Cause.COPIED
        case Stop():
            state, cause = HeadState.ENDED, Cause.STOPPED
        case _:
            assert_never(decision)
    return Head(me.id, me.round + 1, state, values, own, decision.reason, cause)


def compared_with(study: StudyRecord, me: Member, population: Population) -> Population:
    """Return the population as it is shown to `me`.

    In a synchronous study it is as it is; else peers that are a round ahead count with the lower
    of their last two scores.
    """
    return population if study.synchronous else population.after(me.round)


def round_heads(
    study: StudyRecord, waiting: Iterable[tuple[Member, JobId | None]], *, population: Population
) -> list[Head]:
    """Decide for all members at the end of a round, each against the same snapshot.

    Those that are `waiting` come each with the parent of its newest job.
    """
    return [decided_head(study, me, parent=parent, population=population) for me, parent in waiting]
