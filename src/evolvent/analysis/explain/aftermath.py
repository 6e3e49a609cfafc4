"""What came of a job: who went on from it, and whether its checkpoint is still there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from evolvent.analysis.explain.log_lines import LogLines
from evolvent.analysis.explain.snapshot import PopulationSnapshot
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.store.records import MemberView

_MOST_LINES = 20_000

CheckpointFate: TypeAlias = Literal["kept", "pinned", "collected", "missing"]
"""Missing: it is needed, but was not in the archive that the study came from."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What came of a done job.

    Attributes:
        next_job: what its own member did next; None: nothing yet.
        copies: the jobs of other members that started from its checkpoint, by round.
        complete: whether all of the log has been looked through where copies may be.
        checkpoint: what has become of its checkpoint; None when it has none.
    """

    next_job: JobRecord | None = None
    copies: tuple[JobId, ...] = ()
    complete: bool = True
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


def find_aftermath(job: JobRecord, lines: LogLines) -> Aftermath:
    """Return what came of a job.

    It can be copied while it is its member's newest: by whoever decides meanwhile, and by members
    that had failed and waited.
    """
    if job.state is not JobState.DONE:
        return Aftermath()
    first = lines.find(job)
    snapshot = PopulationSnapshot(lines, first, immediate=True)
    # Who may have copied it: the members whose newest job was already there (they may have waited
    # for a donor), and all that reported before its own member went on.
    deciders = list(snapshot.newest.values())
    most = min(len(lines), first + 1 + _MOST_LINES)
    line = first + 1
    while line < most and lines[line].member != job.member:
        deciders.append(lines[line])
        line += 1
    nexts = filter(None, map(snapshot.next_job, deciders))
    copies = {j.id for j in nexts if j.parent == job.id and j.donor is not None}
    return Aftermath(
        next_job=snapshot.next_job(job),
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
