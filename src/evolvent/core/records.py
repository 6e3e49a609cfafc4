"""The values everything else passes around: frozen, comparable, printable."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from evolvent.errors import UnknownJob
from evolvent.validation import cut

Value: TypeAlias = float | int | str | bool | list[Any] | tuple[Any, ...] | dict[str, Any] | None
"""One hyperparameter: a JSON scalar, or a list or dict of them; in a log no tuple, but a list."""

Hyperparameters: TypeAlias = Mapping[str, Value]
"""Flat: nested names of the space are joined with dots (`optimizer.lr`)."""

Metrics: TypeAlias = Mapping[str, Any]
"""Numbers by flat name, and beside them what training reported that is none: None, texts, lists of
anything that JSON has. NaN and infinities are numbers."""

_JOB_ID = re.compile(r"m([0-9]{1,10})r([0-9]{1,10})")


class JobId(str):
    """Names a job by what it is: member 3, round 12 is `m3r12`, on any machine, in any order."""

    __slots__ = ("member", "round")
    member: int
    round: int

    def __new__(cls, member: int, round: int) -> JobId:
        self = super().__new__(cls, f"m{member}r{round}")
        self.member, self.round = member, round
        return self

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]  # copy and pickle
        return self.member, self.round

    @classmethod
    def parse(cls, text: str) -> JobId:
        """Read `m3r12`.

        Raises:
            UnknownJob: the text is not of that form.
        """
        match = _JOB_ID.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise UnknownJob(f"job: got {cut(text)}, wanted member and round such as 'm3r12'")
        return cls(int(match[1]), int(match[2]))


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """Why a job exists with its parent and its hyperparameters, as a fact beside the words.

    Names are kept for good: they are stored and served.
    """

    DRAWN = "drawn"  # round 0: hyperparameters drawn from the space
    GIVEN = "given"  # round 0: all of them given by hand
    GIVEN_IN_PART = "given_in_part"  # round 0: some of them given by hand, the rest drawn
    PUSHED = "pushed"  # round 0, given by hand with its result: it was trained elsewhere
    KEPT = "kept"  # the algorithm lets its member go on from its own checkpoint
    CHANGED = "changed"  # likewise, with other hyperparameters than it trained with
    COPIED = "copied"  # the algorithm lets its member go on from another's
    STOPPED = "stopped"  # the algorithm stopped its member: it is never trained
    RESTARTED = "restarted"  # all members had failed, and the study was resumed
    FELL_BACK = "fell_back"  # its parent's checkpoint was damaged: it starts from an ancestor of it
    UNDECIDED = "undecided"  # its member decides when it is claimed, waits, or is done
    UNKNOWN = "unknown"  # written by an evolvent that did not keep causes


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One line of the log: member `member` trained for round `round`, starting from `parent`.

    Attributes:
        id: `m<member>r<round>`.
        parent: the job whose checkpoint this one starts from; None for fresh weights.
        score: higher is better (the metric, negated when the study minimises); None unless done.
        metrics: what the training code returned; empty unless done.
        checkpoint: content address of what was saved; None unless done.
        parent_checkpoint: content address that the job starts from; None for fresh weights.
        attempt: how often the job was handed out; the one that counts is the last.
        reason: why the job exists with this parent and these hyperparameters, in words.
        cause: the same as one of a few facts; `reason` may be reworded at any time.
        error: the last traceback, or what was wrong; None when nothing was.
        started_at, finished_at: seconds since 1970 on the store's clock.
        lease_until: likewise, until when its worker has the job unless it prolongs; None unless the
            job runs. A worker whose lease has ended is lost: see `StudyStatus.lost_s`.
    """

    member: int
    round: int
    state: JobState
    hyperparameters: Hyperparameters
    parent: JobId | None = None
    score: float | None = None
    metrics: Metrics = field(default_factory=dict)
    checkpoint: str | None = None
    parent_checkpoint: str | None = None
    attempt: int = 0
    reason: str = ""
    error: str | None = None
    worker: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    cause: Cause = Cause.UNKNOWN
    lease_until: float | None = None

    @property
    def id(self) -> JobId:
        return JobId(self.member, self.round)

    @property
    def donor(self) -> int | None:
        """The member that was copied from; None when the job continues its own weights."""
        if self.parent is None or self.parent.member == self.member:
            return None
        return self.parent.member


@dataclass(frozen=True, slots=True)
class Member:
    """A member as an algorithm sees it: its newest finished job.

    Unless that failed, what it saved can be copied until the member reports again.

    Attributes:
        id: number of the member, from 0.
        round: round of its newest finished job.
        score: score of that job, higher is better; None when the job failed. NaN and infinity
            become None: they cannot be ranked. See `Population.after`.
        hyperparameters: those the job trained with.
    """

    id: int
    round: int
    score: float | None
    hyperparameters: Hyperparameters = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.score is not None and not math.isfinite(self.score):
            object.__setattr__(self, "score", None)

    @property
    def job(self) -> JobId:
        return JobId(self.id, self.round)

    @property
    def failed(self) -> bool:
        return self.score is None


@dataclass(frozen=True, slots=True)
class Keep:
    """Go on from the own checkpoint; with `hyperparameters` changed if they are given.

    For a failed member, which has nothing to go on from, it means: wait for a healthy donor.
    """

    reason: str = ""
    hyperparameters: Hyperparameters | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """Go on from the scored checkpoint of member `donor`, with these hyperparameters."""

    donor: int
    hyperparameters: Hyperparameters
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Train this member no further."""

    reason: str = ""


Decision: TypeAlias = Keep | Copy | Stop
