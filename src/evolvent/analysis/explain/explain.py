"""Why a job exists: who was compared with whom, which rule fired, what changed, what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, assert_never

from evolvent.analysis import html
from evolvent.analysis.explain import sentences
from evolvent.analysis.explain.changes import STATIC, Change, traced_changes, untraced_changes
from evolvent.analysis.explain.log_lines import LogLines, find_job
from evolvent.analysis.explain.redecide import Redecision, decide_again
from evolvent.analysis.explain.rules import Case, case_of
from evolvent.analysis.explain.snapshot import PopulationSnapshot
from evolvent.analysis.explain.tracebacks import last_lines
from evolvent.core.records import Cause, JobId, JobRecord, JobState
from evolvent.core.space import short
from evolvent.core.study import StudyRecord
from evolvent.store.protocol import Store
from evolvent.store.records import MemberView, StudyStatus, nested

Role: TypeAlias = Literal["this member", "copied", "drawn", ""]
CheckpointFate: TypeAlias = Literal["kept", "pinned", "collected", "missing"]
"""Missing: it is needed, but was not in the archive that the study came from."""

_SHOWN = 10  # so many members are listed whole; of more, those that matter
_FAILURES = 10_000
_MOST_LINES = 20_000  # that are looked through for copies


@dataclass(frozen=True, slots=True)
class Rival:
    """A member as the decision saw it.

    Attributes:
        rank: 1 for the best.
        value: the metric as training reported it; None when the job had failed.
        role: its part in the decision; "": none.
    """

    rank: int
    job: JobId
    value: float | None
    role: Role


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job exists, derived from the log.

    Attributes:
        study: name of the study.
        metric: what is compared.
        job: the job; hyperparameters nested.
        why: sentences: when it was decided, how its member stood, by which rule, what was done.
        members: how many were compared; 0 in round 0.
        rivals: the ones that matter, best first.
        changes: every hyperparameter before and after; empty in round 0, and while nothing is
            decided.
        agrees: whether deciding again gave what the log says; None where it could not.
        check: the same in words.
        after: sentences: failed attempts, what the training came to, and what came of it.
        copies: the jobs of other members that started from its checkpoint.
        checkpoint: what has become of its checkpoint; None when it has none.
    """

    study: str
    metric: str
    job: JobRecord
    why: tuple[str, ...] = ()
    members: int = 0
    rivals: tuple[Rival, ...] = ()
    changes: tuple[Change, ...] = ()
    agrees: bool | None = None
    check: str = ""
    after: tuple[str, ...] = ()
    copies: tuple[JobId, ...] = ()
    checkpoint: CheckpointFate | None = None

    @property
    def error_lines(self) -> list[str]:
        """The end of the traceback of a failed job, or of what its command printed, by line."""
        return last_lines(self.job.error)

    def __str__(self) -> str:
        head = f"{self.job.id} of study {self.study!r}: {self.job.state}"
        changes = map(_change_line, self.changes)
        error = [f"  {line}" for line in self.error_lines]
        return "\n".join(filter(None, [head, *self.why, *changes, *self.after, *error, self.check]))

    def __repr__(self) -> str:
        return f"<Explanation of {self.job.id} of study {self.study!r}: {self.job.state}>"

    def _repr_html_(self) -> str:
        rivals = [
            [r.rank, r.job, "failed" if r.value is None else f"{r.value:.6g}", r.role]
            for r in self.rivals
        ]
        classes = ["best" if r.role == "this member" else "" for r in self.rivals]
        changes = [
            [c.name, short(c.before), short(c.base), short(c.after), c.how] for c in self.changes
        ]
        return html.framed(
            f"{self.job.id} of {self.study}",
            str(self.job.state),
            html.words(self.why),
            html.rows(["rank", "job", self.metric, ""], rivals, classes=classes) if rivals else "",
            html.rows(["", "before", "donor's", "now", ""], changes) if changes else "",
            html.words(self.after),
            html.output(self.error_lines),
            html.note(self.check) if self.check else "",
        )


@dataclass(frozen=True, slots=True)
class _Aftermath:
    """What came of a done job: what its own member did next, who copied it; as in `Explanation`."""

    next_job: JobRecord | None = None
    copies: tuple[JobId, ...] = ()
    complete: bool = True  # all of the log has been looked through where copies may be
    checkpoint: CheckpointFate | None = None

    def sentences(self, job: JobRecord) -> Iterator[str]:
        """Say what came of the job, sentence by sentence."""
        if self.next_job is not None:
            own = "went on from it" if self.next_job.parent == job.id else "did not go on from it"
            yield f"Its own member {own} ({self.next_job.id})."
        more = "" if self.complete else ", as far as the log was read"
        copies = f"Copied by {', '.join(self.copies)}" if self.copies else "Nobody copied it"
        yield f"{copies}{more}."
        match self.checkpoint:
            case "pinned":
                yield "Its checkpoint is still there, and pinned."
            case "kept":
                yield "Its checkpoint is still there."
            case "missing":
                yield "Its checkpoint is not here."
            case "collected" | None:
                yield "Its checkpoint has been collected: nothing needed it any more."
            case _:
                assert_never(self.checkpoint)


def explain(store: Store, status: StudyStatus, job: str) -> Explanation:
    """Return why a job, finished or open, exists; `job` is its id, such as `m3r12`.

    Only the part of the log around the job is read.

    Raises:
        UnknownJob: there is none of that id; says which there are.
    """
    found = find_job(store, status, job)
    status = store.status(status.id)  # a log that holds the job, however old the given one is
    lines, record = LogLines(store, status), status.record
    aftermath = _find_aftermath(found, lines)
    parent = None if found.parent is None else store.job(status.id, found.parent)
    failures = [f for f in store.failures(status.id, limit=_FAILURES) if f.job == found.id]
    after = list(sentences.of_outcome(status, found, parent, failures))
    if found.cause is not Cause.UNDECIDED:  # else nobody knows whose weights it will go on from
        after.extend(sentences.of_descent(store.lineage(status.id, found.id)))
    if found.state is JobState.DONE:
        after.extend(aftermath.sentences(found))
    explanation = Explanation(
        study=record.name,
        metric=record.metric,
        job=nested(found, status),
        after=tuple(after),
        copies=aftermath.copies,
        checkpoint=aftermath.checkpoint,
    )
    if found.round == 0:
        why = tuple(
            sentences.of_first_job(record, found, pushed_by=_pushed_by(store, status, found))
        )
        agrees = sentences.first_job_matches(record, found)
        outcome = "the same" if agrees else "something else"
        check = f"Begun again from the seed, {outcome} comes out."
        return replace(explanation, why=why, agrees=agrees, check=check)
    if found.cause is Cause.UNDECIDED:
        return replace(explanation, why=(sentences.of_undecided(found),))
    if found.cause is Cause.RESTARTED:
        same = untraced_changes(found.hyperparameters, found.hyperparameters)
        return replace(explanation, why=tuple(sentences.of_restart(found)), changes=same)
    return _explain_decision(explanation, record, found, decide_again(found, lines))


def _explain_decision(
    explanation: Explanation, record: StudyRecord, job: JobRecord, decision: Redecision
) -> Explanation:
    me, population = decision.me, decision.population
    if decision.agrees:
        case = case_of(record, me, population)
        changes = traced_changes(record, me, population, job.hyperparameters)
    else:
        donor = next((member for member in population if member.id == job.donor), None)
        case = Case(record, me, population, donor, donor)
        changes = untraced_changes(decision.before.hyperparameters, job.hyperparameters)
    return replace(
        explanation,
        why=tuple(sentences.of_decision(record, job, decision, case)),
        members=len(population),
        rivals=_rivals(case),
        changes=changes,
        agrees=decision.agrees,
        check=sentences.of_check(decision),
    )


def _rivals(case: Case) -> tuple[Rival, ...]:
    ranked = sorted(case.population, key=case.population.rank)
    roles: dict[int, Role] = {}
    if case.opponent is not None:
        roles[case.opponent.id] = "drawn"
    if case.donor is not None:
        roles[case.donor.id] = "copied"
    roles[case.me.id] = "this member"
    mine = case.population.rank(case.me)
    near = {0, 1, 2, mine - 1, mine, mine + 1, len(ranked) - 1}
    return tuple(
        Rival(
            rank + 1,
            case.compared(member),
            None if member.score is None else case.record.score(member.score),
            roles.get(member.id, ""),
        )
        for rank, member in enumerate(ranked)
        if len(ranked) <= _SHOWN or rank in near or member.id in roles
    )


def _change_line(change: Change) -> str:
    if change.before == change.after and change.how in ("", STATIC):
        return f"  {change.name} stays {short(change.after)}"
    parts = [f"the donor's {short(change.base)}"] if change.base != change.before else []
    detail = " ".join(filter(None, [*parts, change.how]))
    how = f" ({detail})" if detail else ""
    return f"  {change.name} {short(change.before)} -> {short(change.after)}{how}"


def _pushed_by(store: Store, status: StudyStatus, job: JobRecord) -> str:
    """Return who has pushed the member of a job; "hand" of one that an older evolvent pushed."""
    if job.member < status.record.population:  # one of the first: nobody has
        return "hand"
    done = store.interventions(status.id)
    return next((one.by for one in done if one.facts.get("job") == job.id), "hand")


def _find_aftermath(job: JobRecord, lines: LogLines) -> _Aftermath:
    """Return what came of a job.

    It can be copied while it is its member's newest: by whoever decides meanwhile, and by members
    that had failed and waited.
    """
    if job.state is not JobState.DONE:
        return _Aftermath()
    first = lines.find(job)
    snapshot = PopulationSnapshot(lines, first)
    # Who may have copied it: the members whose newest job was already there (they may have waited
    # for a donor), and all that reported before its own member went on.
    deciders = list(snapshot.newest.values())
    most = min(len(lines), first + 1 + _MOST_LINES)
    line = first + 1
    while line < most and lines[line].member != job.member:
        deciders.append(lines[line])
        line += 1
    nexts = filter(None, map(snapshot.next_job, deciders))
    own = snapshot.next_job(job)
    copies = {j.id for j in nexts if j.parent == job.id and j.donor is not None}
    return _Aftermath(
        next_job=None if own is None or own.cause is Cause.UNDECIDED else own,
        copies=tuple(sorted(copies, key=lambda id: (id.round, id.member))),
        complete=line < most or most == len(lines),
        checkpoint=_checkpoint(job, lines),
    )


def _checkpoint(job: JobRecord, lines: LogLines) -> CheckpointFate | None:
    store, study = lines.store, lines.study
    if job.checkpoint is None:
        return None
    pinned = job.id in store.pins(study)
    if job.checkpoint in store.checkpoints(study):
        return "pinned" if pinned else "kept"
    needed = pinned or job.id == store.status(study).best or job.id in _resumable(lines.views)
    return "missing" if needed else "collected"


def _resumable(views: Sequence[MemberView]) -> set[JobId | None]:
    """Return the jobs whose checkpoints members go on from."""
    starts = {view.open.parent for view in views if view.open is not None}
    newest = [view.newest for view in views if view.newest is not None]
    return starts | {job.parent if job.state is JobState.FAILED else job.id for job in newest}
