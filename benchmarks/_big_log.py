"""Makes a long log quickly: the true rules decide, only the training and the store are left out."""

from __future__ import annotations

import heapq
import json
import math
import random
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Choice, LogIntUniform, LogUniform, Uniform
from evolvent.core.heads import Head, HeadState, decided_head, first_heads, next_head
from evolvent.core.population import Population
from evolvent.core.records import Cause, JobId, Member
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.store.connect import open_store

NAME = "long"
_LINES = 2**32  # as the store numbers the lines of a study
_BEGIN = 1_700_000_000.0
_FAILS = 0.001
_SPACE = Space(
    {
        "lr": LogUniform(1e-5, 1.0),
        "momentum": Uniform(0.1, 0.999),
        "batch": LogIntUniform(16, 512),
        "optimizer": Choice(["sgd", "adam"]),
    }
)
_COLUMNS = (
    "id, study, member, round, state, score, hyperparameters, metrics, checkpoint, parent_member,"
    " parent_round, parent_checkpoint, attempt, reason, error, worker, started_at, finished_at"
)
_JOB = f"INSERT INTO job ({_COLUMNS}) VALUES ({', '.join('?' * 18)})"
_HEAD = """
UPDATE member
SET round = ?, state = ?, hyperparameters = ?, parent_member = ?, parent_round = ?,
    checkpoint = ?, reason = ?, attempt = 0
WHERE id = ?
"""
_BEST = """
UPDATE study
SET best_member = ?, best_round = ?, best_score = ?, best_checkpoint = ?, started_at = ?,
    epoch = epoch + 1
WHERE id = ?
"""


def make(path: Path, *, members: int, rounds: int) -> None:
    """Write a store with one finished study; an asynchronous PBT with copies and failures."""
    aside = path.with_name(f"making-{path.name}")
    aside.unlink(missing_ok=True)
    record = StudyRecord(
        name=NAME,
        metric="accuracy",
        mode="max",
        space=_SPACE,
        algorithm=PBT(),
        population=members,
        rounds=rounds,
        seed=1,
        durability="process",
    )
    store = open_store(f"sqlite:///{aside}")
    study = store.create_study(record)
    store.close()
    simulation = Simulation(study, record)
    connection = sqlite3.connect(aside)
    connection.execute("PRAGMA synchronous = OFF")
    connection.executemany(_JOB, simulation.rows())
    connection.executemany(_HEAD, simulation.heads())
    connection.execute(_BEST, simulation.best())
    connection.commit()
    connection.close()
    shutil.move(aside, path)


@dataclass
class Slot:
    """A member: its head, and what its checkpoints are worth.

    Attributes:
        text: the hyperparameters of the head as JSON.
        start: skill and address of the checkpoint that the head goes on from.
        newest: skill and address of the newest checkpoint.
        started: when the head's job began.
    """

    head: Head
    text: str
    start: tuple[float, str | None] = (0.0, None)
    newest: tuple[float, str | None] = (0.0, None)
    started: float = 0.0


class Simulation:
    """Members that get better as long as their learning rate fits, at speeds of their own."""

    def __init__(self, study: int, record: StudyRecord) -> None:
        self._study, self._record = study, record
        self._rng = random.Random(1)
        self._population = Population()
        self._slots = [Slot(head, _text(head)) for head in first_heads(record)]
        self._waiting: list[int] = []
        self._best: tuple[float, JobId, str | None] = (-1.0, JobId(0, 0), None)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the lines of the log in the order of the reports."""
        at_work: list[tuple[float, int]] = []
        for member in range(len(self._slots)):
            self._begin(at_work, member, 0.0)
        line = 0
        while at_work:
            now, member = heapq.heappop(at_work)
            line += 1
            yield self._finish(line, member, now)
            for other in (*self._look_again(), member):
                self._begin(at_work, other, now)

    def heads(self) -> Iterator[tuple[Any, ...]]:
        """Yield what the heads of the members are at the end."""
        for slot in self._slots:
            head = slot.head
            parent = (
                (None, None) if head.parent is None else (head.parent.member, head.parent.round)
            )
            number = self._study * _LINES + head.member
            state = head.state.value
            yield (head.round, state, slot.text, *parent, slot.start[1], head.reason, number)

    def best(self) -> tuple[Any, ...]:
        """Return what the study's own line says of the best job."""
        score, job, address = self._best
        return (job.member, job.round, score, address, _BEGIN, self._study)

    def _look_again(self) -> list[int]:
        """Let failed members that found no donor decide once more."""
        waiting, self._waiting = self._waiting, []
        for member in waiting:
            self._decide(member)
        return waiting

    def _decide(self, member: int) -> None:
        me, parent = self._population.member(member), self._slots[member].head.parent
        population = self._population
        self._move(member, decided_head(self._record, me, parent=parent, population=population))

    def _begin(self, at_work: list[tuple[float, int]], member: int, now: float) -> None:
        slot = self._slots[member]
        if slot.head.cause is Cause.UNDECIDED and slot.head.state is HeadState.QUEUED:
            self._decide(member)
        if slot.head.state is HeadState.QUEUED:
            slot.started = now
            heapq.heappush(at_work, (now + self._rng.uniform(0.8, 1.2), member))

    def _finish(self, line: int, member: int, now: float) -> tuple[Any, ...]:
        slot, rng = self._slots[member], self._rng
        head, text, start = slot.head, slot.text, slot.start
        score, metrics, address = None, "{}", None
        if rng.random() >= _FAILS:
            skill = _trained(start[0], head, self._record.rounds)
            score, address = skill + rng.gauss(0.0, 0.002), f"{rng.getrandbits(256):064x}"
            metrics = f'{{"accuracy":{score!r},"loss":{-math.log(max(skill, 1e-9))!r}}}'
            slot.newest = (skill, address)
        me = Member(member, head.round, score, head.hyperparameters)
        if score is not None and score > self._best[0]:
            self._best = (score, me.job, address)
        parent = head.parent
        self._population.update(me)
        self._move(member, next_head(self._record, me, parent=parent if me.failed else None))
        state = "failed" if score is None else "done"
        pair = (None, None) if parent is None else (parent.member, parent.round)
        error = "ValueError: boom" if score is None else None
        return (
            self._study * _LINES + line, self._study, member, head.round, state, score, text,
            metrics, address, *pair, start[1], 1, head.reason, error, f"host/{member % 8}/w0",
            _BEGIN + slot.started, _BEGIN + now,
        )  # fmt: skip

    def _move(self, member: int, new: Head) -> None:
        slot = self._slots[member]
        if new.hyperparameters is not slot.head.hyperparameters:
            slot.text = _text(new)
        if new.parent is not None and new.parent != slot.head.parent:
            slot.start = self._slots[new.parent.member].newest
        slot.head = new
        if new.state is HeadState.WAITING:
            self._waiting.append(new.member)


def _trained(skill: float, head: Head, rounds: int) -> float:
    """Return the skill after a round: much is gained near the learning rate of the hour."""
    values: Mapping[str, Any] = head.hyperparameters
    off = math.log10(float(values["lr"] or 1.0)) + 1.5 + 2.0 * head.round / rounds
    pace = math.exp(-(off**2)) * float(values["momentum"] or 0.0) * 4.0 / rounds
    return skill + pace * (1.0 - skill)


def _text(head: Head) -> str:
    return json.dumps(dict(head.hyperparameters), separators=(",", ":"))
