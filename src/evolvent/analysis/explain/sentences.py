"""Why a job exists and what became of it, sentence by sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from evolvent.analysis.explain.redecide import Redecision
from evolvent.analysis.explain.rules import Case, rule_sentences
from evolvent.analysis.explain.tracebacks import place_of
from evolvent.core.exploit import NoExploit
from evolvent.core.heads import first_head
from evolvent.core.records import Cause, Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.store.records import FailedAttempt, StudyStatus

_GIVEN = "given by hand: "
_DRAWN = "; the rest drawn from the space"


def of_first_job(record: StudyRecord, job: JobRecord, *, pushed_by: str) -> list[str]:
    """Say why a job of round 0 exists."""
    if job.member < record.population:
        who = f"Member {job.member} is one of the {record.population} the study began with."
    else:
        who = f"Member {job.member} was pushed by {pushed_by} when the study was under way."
    match job.cause:
        case Cause.PUSHED:
            what = "It had been trained elsewhere: model and hyperparameters came by hand."
        case Cause.GIVEN:
            what = "Its hyperparameters were given by hand."
        case Cause.GIVEN_IN_PART:
            names = ", ".join(_given_names(record, job))
            what = f"By hand came {names}; the rest was drawn from the space (seed {record.seed})."
        case _:
            what = f"Its hyperparameters were drawn from the space (seed {record.seed})."
    return [who, what]


def first_job_matches(record: StudyRecord, job: JobRecord) -> bool:
    """Return whether beginning again gives the same hyperparameters."""
    given: Hyperparameters | None = None
    if job.member >= record.population:
        names = _given_names(record, job)
        given = {name: x for name, x in job.hyperparameters.items() if name in names}
    head = first_head(record, job.member, given)
    return dict(head.hyperparameters) == dict(job.hyperparameters)


def _given_names(record: StudyRecord, job: JobRecord) -> Collection[str]:
    """Return the hyperparameters of a job of round 0 that were given by hand."""
    match job.cause:
        case Cause.GIVEN | Cause.PUSHED:
            return job.hyperparameters
        case Cause.GIVEN_IN_PART if job.member < len(record.initial):
            return record.initial[job.member]
        case Cause.GIVEN_IN_PART:
            # Which ones a push gave is in no column, so the words of `core.heads.first_head` are
            # read: drawing again cannot tell, for a given category may be the one that is drawn,
            # and who takes every other value for a given one finds that all draws agree.
            return job.reason.removeprefix(_GIVEN).removesuffix(_DRAWN).split(", ")
        case _:
            return ()


def of_undecided(job: JobRecord) -> str:
    """Say that the member of a queued job has not decided yet."""
    return (
        f"Nothing is decided yet: member {job.member} decides when a worker begins this round, "
        "against the newest finished job of every member then."
    )


def of_restart(job: JobRecord) -> list[str]:
    """Say why a job exists that a failed study began with when it was resumed."""
    start = "fresh weights" if job.parent is None else f"the checkpoint of {job.parent}"
    return [
        "All members had failed and the study was resumed by hand.",
        f"Every member then started again from its last usable checkpoint: this one from {start}, "
        "with its hyperparameters unchanged.",
    ]


def of_decision(record: StudyRecord, job: JobRecord, decision: Redecision, case: Case) -> list[str]:
    """Say why a job of round 1 or later exists: when it was decided, the ranks, the rule."""
    rule = rule_sentences(case) if decision.agrees else []
    if not rule:
        rule = [f"The log says: {job.reason}."]
    sentences = [
        _when_sentence(record, decision),
        _rank_sentence(case, decision),
        *rule,
        _action_sentence(job, case),
    ]
    if job.cause is Cause.FELL_BACK:
        how = f": {decision.damage}" if decision.damage else ""
        sentences.append(f"The checkpoint that it was to start from was damaged{how}.")
    return sentences


def of_check(decision: Redecision) -> str:
    """Say whether deciding again gives what the log says."""
    if decision.agrees:
        return "Decided again from the log: the same comes out."
    if decision.agrees is None:
        return f"It cannot be decided again here: {decision.instead}"
    return (
        "Decided again from the log, something else comes out, so the ranks may be of another "
        f"moment: {decision.instead}"
    )


def of_outcome(
    status: StudyStatus, job: JobRecord, parent: JobRecord | None, failures: list[FailedAttempt]
) -> Iterator[str]:
    """Say what became of a job, its failed attempts first."""
    for failed in failures:
        place = place_of(failed.failure.traceback)
        how = f"{failed.failure.kind}{f' at {place}' if place else ''}"
        by = failed.worker or "a worker"
        yield f"Attempt {failed.attempt} by {by} ({how}): {failed.failure.message}"
    match job.state:
        case JobState.DONE:
            yield f"{_trained(status.record, job, parent)}."
        case JobState.FAILED:
            if all(failed.attempt != job.attempt for failed in failures):  # or it has been told
                yield f"It failed at attempt {job.attempt}: {last_line(job.error)}"
        case JobState.RUNNING:
            lost = status.lost_note(job)
            by = f"It is being trained by {job.worker}, attempt {job.attempt}."
            yield f"It is at attempt {job.attempt}, but {lost}." if lost else by
        case JobState.QUEUED:
            yield "It waits for a worker."
        case JobState.CANCELLED:
            yield "It will never be trained: its member was stopped."


def of_descent(line: Sequence[JobRecord]) -> Iterator[str]:
    """Say where the weights of the last job of a lineage come from."""
    if len(line) == 1:
        return
    copies = [job for job in line if job.donor is not None]
    n = sum(job.state is JobState.DONE for job in line)  # the last may fail, or be trained just now
    rounds = f"{n} round{'' if n == 1 else 's'}{'' if copies else ' without a copy'}"
    sentence = f"Its weights began as {line[0].id} and have been trained for {rounds}"
    if copies:
        times = "once, as" if len(copies) == 1 else f"{len(copies)} times, last as"
        sentence += f", copied {times} {copies[-1].id} from {copies[-1].parent}"
    yield f"{sentence}."


def last_line(error: str | None) -> str:
    """Return what a traceback comes down to."""
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else "nobody knows why"


def _when_sentence(record: StudyRecord, decision: Redecision) -> str:
    if record.synchronous:
        return (
            f"Decided at the end of round {decision.before.round}, for all members at once and "
            "against the same snapshot (synchronous)."
        )
    before, seen = decision.before.id, decision.seen.id
    ahead = any(decision.population.held_back(member.id) for member in decision.population)
    but = ", the worse of the last two of those a round ahead" if ahead else ""
    against = f"the newest finished job of every member{but} (asynchronous)"
    if decision.me.failed:
        if seen != before:
            return f"{before} had failed and nobody could be copied until {seen} was reported."
        return f"Decided as soon as {before} had failed, against {against}."
    return f"Decided when its round began, against {against}; the newest of all was {seen}."


def _rank_sentence(case: Case, decision: Redecision) -> str:
    me, n = case.me, len(case.population)
    if me.score is None:
        why = last_line(decision.before.error)
        return f"{me.job} had failed ({why}), so it ranks below all others."
    own = f"Member {me.id} had {case.value(me.score)} after {me.job}: rank {case.rank(me)} of {n}"
    best = case.population.at_rank(0)
    if best.id == me.id or best.score is None:
        return f"{own}."
    return f"{own}. The best was {case.of(best)}."


def _action_sentence(job: JobRecord, case: Case) -> str:
    """Say what the member started from and with which hyperparameters."""
    if job.state is JobState.CANCELLED:
        return "So it was stopped."
    explores = "" if case.pbt is None else " and explores"
    own = f"its own checkpoint ({JobId(job.member, job.round - 1)})"
    if case.donor is None:
        if isinstance(case.exploit, NoExploit) or (case.pbt is not None and case.pbt.explore_all):
            return f"It goes on from {own}{explores}."
        same = dict(job.hyperparameters) == dict(case.me.hyperparameters)
        return f"It goes on from {own} with {'unchanged' if same else 'new'} hyperparameters."
    donor, copies = case.donor, "both" if case.pbt is None else case.pbt.copies
    if copies == "hyperparameters" and case.me.failed:
        copies = "both"
    start = f"It starts from the checkpoint of {donor.job}"
    if donor.job != case.compared(donor):
        start += f", which member {donor.id} had finished since,"
    if copies == "weights":
        return f"{start}{explores} with its own values."
    if copies == "hyperparameters":
        return f"It goes on from {own} with the hyperparameters of member {donor.id}{explores}."
    return f"{start} with its hyperparameters{explores}."


def _trained(record: StudyRecord, job: JobRecord, parent: JobRecord | None) -> str:
    assert job.score is not None  # it is done
    value = record.score(job.score)
    if job.cause is Cause.PUSHED:
        return f"It came with {record.metric} {value:.6g}; round 0 was not trained here"
    spent = ""
    if job.started_at is not None and job.finished_at is not None:
        spent = f" in {job.finished_at - job.started_at:.3g} s"
    if parent is None or parent.score is None:
        return f"It trained to {record.metric} {value:.6g}{spent}"
    gain = job.score - parent.score
    word = "better" if gain > 0 else "worse" if gain < 0 else "no change"
    by = f"{abs(gain):.4g} {word}" if gain else word
    start = record.score(parent.score)
    return f"It trained from {record.metric} {start:.6g} to {value:.6g} ({by}){spent}"
