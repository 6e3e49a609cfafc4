"""Studies of the zoo on a virtual clock: what a real study does, without its store.

Heads, decisions, ranks and seeds are evolvent's own (`evolvent.core`). Workers are simulated: they
claim, train and report as real ones do, only that a round takes as long as their speed says.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from _zoo_tasks import Task
from evolvent.core.algorithms import Algorithm
from evolvent.core.heads import Head, HeadState, decided_head, first_heads, next_head, round_heads
from evolvent.core.population import Population
from evolvent.core.records import Cause, JobId, JobRecord, JobState, Member
from evolvent.core.rng import stream, training_seed
from evolvent.core.study import StudyRecord

JITTER = 0.05
"""Standard deviation of the logarithm of how long a round takes."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How members take turns.

    Attributes:
        workers: how many; None: a synchronous study, where their number changes nothing.
        spread: how many times as long the slowest worker needs as the fastest.
        decide: at the "claim" of their next round, as studies do, or at the "report" of the last
            one, against peers most of whom are still a round behind.
    """

    workers: int | None = None
    spread: float = 1.0
    decide: Literal["claim", "report"] = "claim"


class Outcome(NamedTuple):
    """How a simulated study ended; scores are true ones, without noise.

    Attributes:
        best: of the best member at the end, the score of its newest job.
        chosen: of the job with the highest reported score, in any round.
        copies: how many jobs started from another member.
        hours: when the last job ended; a round of the fastest worker takes one.
    """

    best: float
    chosen: float
    copies: int
    hours: float


class Log:
    """The log of a study, with what its jobs saved: it answers as the history of a population.

    Attributes:
        population: the newest finished job of each member.
        newest: the same by number of the member.
        lineages: by job, the jobs that made its weights, the first one first and itself last.
        states: by job, what it saved; failed ones save nothing. Likewise `true_scores`.
    """

    def __init__(self) -> None:
        self.population = Population((), self)
        self.newest: dict[int, Member] = {}
        self.lineages: dict[JobId, tuple[JobRecord, ...]] = {}
        self.states: dict[JobId, Any] = {}
        self.true_scores: dict[JobId, float] = {}

    def scores(self, member: int, window: int, *, round: int | None = None) -> Sequence[float]:
        """Return at most `window` newest scores along the lineage of a member, oldest first."""
        newest = self.newest[member].round
        job = JobId(member, newest if round is None else min(round, newest))
        lineage = self.lineages[job]
        return [record.score for record in lineage if record.score is not None][-window:]

    def round_scores(self, round: int) -> Mapping[int, float | None]:
        """Return what the jobs of a round scored, by member."""
        jobs = [JobId(m.id, round) for m in self.population if m.round >= round]
        return {job.member: self.lineages[job][-1].score for job in jobs}

    def jobs(self) -> Sequence[JobRecord]:
        """Return every finished job, in the order in which they finished."""
        return [lineage[-1] for lineage in self.lineages.values()]

    def append(self, record: JobRecord, state: Any, true_score: float) -> Member:
        """Take in a finished job and return the new state of its member."""
        me = Member(record.member, record.round, record.score, record.hyperparameters)
        job, parent = me.job, record.parent
        before = () if parent is None else self.lineages[parent]
        self.lineages[job] = (*before, record)
        if not me.failed:
            self.states[job], self.true_scores[job] = state, true_score
        self.newest[me.id] = me
        self.population.update(me)
        return me


View: TypeAlias = Callable[[Member, Log], Population]
"""From the member that decides and the log to the population that it is shown."""


class Shown(Population):
    """Members that are compared as they are, whichever rounds they have finished."""

    def after(self, round: int) -> Population:
        return self


def same_round(me: Member, log: Log) -> Population:
    """Show each peer as studies do: one that is a round ahead with the worse of its last two."""
    return log.population


def newest_of_all(me: Member, log: Log) -> Population:
    """Show the newest finished job of each member, whoever has trained for longer."""
    return Shown(log.population, log)


def equal_training(me: Member, log: Log) -> Population:
    """Show each peer with the score it had when its weights were trained for as long as mine.

    A peer that has trained less is shown as it is.
    """
    trained = len(log.lineages[me.job])

    def then(peer: Member) -> Member:
        lineage = log.lineages[peer.job]
        return peer if len(lineage) <= trained else replace(peer, score=lineage[trained - 1].score)

    return Shown(map(then, log.population), log)


def equally_trained(me: Member, log: Log) -> Population:
    """Show the same as `equal_training`, without peers that have trained less."""
    trained = len(log.lineages[me.job])
    shown = equal_training(me, log)
    return Shown([m for m in shown if len(log.lineages[m.job]) >= trained], log)


def study_of(
    task: Task,
    algorithm: Algorithm,
    *,
    population: int,
    interval: int,
    seed: int,
    synchronous: bool = True,
) -> StudyRecord:
    """Return the settings of one study of the zoo."""
    return StudyRecord(
        name="zoo",
        metric="score",
        mode="max",
        space=task.space,
        algorithm=algorithm,
        population=population,
        rounds=task.steps // interval,
        seed=seed,
        synchronous=synchronous,
        initial=task.initial(seed, population),
    )


def simulate(
    task: Task, study: StudyRecord, mode: Mode = Mode(), *, view: View = same_round
) -> tuple[Outcome, Log]:
    """Run a study to its end; `view` is for asynchronous ones."""
    run = _Run(task, study, mode, view)
    hours = run.synchronous() if mode.workers is None else run.asynchronous(mode.workers)
    return run.outcome(hours), run.log


class _Run:
    def __init__(self, task: Task, study: StudyRecord, mode: Mode, view: View) -> None:
        self.task, self.study, self.mode, self.view = task, study, mode, view
        self.log = Log()
        self.steps = task.steps // study.rounds
        self.heads = {head.member: head for head in first_heads(study)}

    def synchronous(self) -> float:
        """Train a round of all, decide for all, and so on."""
        for round_ in range(self.study.rounds):
            for head in self.heads.values():
                if head.state is HeadState.QUEUED:
                    self.train(head, 0.0, round_ + 1.0)
            if round_ + 1 < self.study.rounds:
                going_on = [h for h in self.heads.values() if h.state is not HeadState.ENDED]
                waiting = [(self.log.newest[h.member], h.parent) for h in going_on]
                for head in round_heads(self.study, waiting, population=self.log.population):
                    self.heads[head.member] = head
        return float(self.study.rounds)

    def asynchronous(self, n_workers: int) -> float:
        """Let workers take turns until no member has a round left."""
        claims = _Claims(self, n_workers)
        clock = stream(self.study.seed, "clock", n_workers, 0)
        jitter = clock.standard_normal(self.study.population * self.study.rounds) * JITTER
        exponents = [i / max(n_workers - 1, 1) for i in range(n_workers)]
        durations = [self.mode.spread**exponent for exponent in exponents]
        busy: list[tuple[float, int, int, Head, float]] = []
        idle, now, n_jobs = list(range(n_workers)), 0.0, 0
        while True:
            idle.sort()
            for worker in tuple(idle):
                head = claims.next(worker)
                if head is None:
                    break
                idle.remove(worker)
                took = durations[worker] * math.exp(jitter[n_jobs])
                heapq.heappush(busy, (now + took, n_jobs, worker, head, now))
                n_jobs += 1
            if not busy:
                return now
            now, _, worker, head, began = heapq.heappop(busy)
            claims.reported(self.train(head, began, now))
            idle.append(worker)

    def train(self, head: Head, began: float, ended: float) -> Member:
        """Train the job of a head and append it to the log."""
        seed = training_seed(self.study.seed, head.member, head.round)
        parent = head.parent
        state = self.task.start(seed) if parent is None else self.log.states[parent]
        state, score, true_score = self.task.train(state, head.hyperparameters, self.steps, seed)
        healthy = math.isfinite(score)
        record = JobRecord(
            head.member,
            head.round,
            JobState.DONE if healthy else JobState.FAILED,
            head.hyperparameters,
            parent,
            score if healthy else None,
            reason=head.reason,
            started_at=began,
            finished_at=ended,
            cause=head.cause,
        )
        return self.log.append(record, state, true_score)

    def outcome(self, hours: float) -> Outcome:
        log = self.log
        ends = [log.true_scores[m.job] for m in log.newest.values() if not m.failed]
        records = log.jobs()
        scored = [(record.score, record.id) for record in records if record.score is not None]
        chosen = log.true_scores[max(scored)[1]] if scored else math.nan
        copies = sum(record.donor is not None for record in records)
        return Outcome(max(ends, default=math.nan), chosen, copies, hours)


@dataclass(slots=True)
class _Claims:
    """Which job a free worker gets: the lowest round, its last member, the lowest number."""

    run: _Run
    n_workers: int
    last: dict[int, int] = field(default_factory=dict)  # by worker, the member it trained last
    queued: dict[int, Head] = field(default_factory=dict)  # by member
    order: list[tuple[int, int]] = field(default_factory=list)  # a heap: round and member
    waiting: dict[int, Head] = field(default_factory=dict)  # failed members that found no donor

    def __post_init__(self) -> None:
        for head in self.run.heads.values():
            self._queue(head)

    def next(self, worker: int) -> Head | None:
        """Return the job that a worker trains now; None when there is none."""
        while (head := self._lowest(worker)) is not None:
            del self.queued[head.member]
            if head.cause is Cause.UNDECIDED:
                head = self._decide(head)
            if head.state is HeadState.QUEUED:
                self.last[worker] = head.member
                return head
        return None

    def reported(self, me: Member) -> None:
        """Open what comes next for a member, and for failed ones that wait for a donor."""
        log, study = self.run.log, self.run.study
        head = next_head(study, me, parent=log.lineages[me.job][-1].parent)
        if head.state is HeadState.QUEUED:
            self._open(self._decide(head) if self.run.mode.decide == "report" else head)
        elif head.state is HeadState.WAITING:
            self.waiting[me.id] = head
        waiting, self.waiting = self.waiting, {}
        for member in sorted(waiting):
            self._open(self._decide(waiting[member]))

    def _open(self, head: Head) -> None:
        if head.state is HeadState.QUEUED:
            self._queue(head)
        elif head.state is HeadState.WAITING:
            self.waiting[head.member] = head

    def _decide(self, head: Head) -> Head:
        log = self.run.log
        me = log.newest[head.member]
        population = self.run.view(me, log)
        return decided_head(self.run.study, me, parent=head.parent, population=population)

    def _queue(self, head: Head) -> None:
        self.queued[head.member] = head
        heapq.heappush(self.order, (head.round, head.member))

    def _lowest(self, worker: int) -> Head | None:
        """Return the queued head that this worker is to have."""
        while self.order:
            round_, member = self.order[0]
            head = self.queued.get(member)
            if head is None or head.round != round_:  # given out before, out of turn
                heapq.heappop(self.order)
                continue
            preferred = self.queued.get(self.last.get(worker, member))
            return preferred if preferred is not None and preferred.round == round_ else head
        return None
