"""A whole study taken out of, or written into, the reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from evolvent.core.heads import HeadState
from evolvent.core.records import JobId, JobState
from evolvent.errors import StudyExists
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import (
    CheckpointWriter,
    HeldCheckpoints,
    hold,
    publish_dir,
    staging_area,
)
from evolvent.store.dump import Chosen, JobPoint, MemberDump, StudyDump, not_done
from evolvent.store.sql.idempotency import fingerprint
from tests.contract.reference.studies import Studies
from tests.contract.reference.study import ReferenceStudy, Slot


class ReferenceArchive(ABC):
    """The part of the reference that deals with whole studies."""

    @property
    @abstractmethod
    def _open(self) -> Studies:
        """What is stored, unless the store has been closed."""

    @contextmanager
    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> Iterator[tuple[StudyDump, HeldCheckpoints]]:
        with ExitStack() as stack:
            with self._open.read(study) as now:
                it = now.copy()
                files = stack.enter_context(hold(it.checkpoints, _chosen(it, checkpoints)))
            yield _dump(it), files

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        contents, call = self._open, fingerprint("restore", dump.record, dump.created_at)
        with contents.lock:
            done: int | None = None if key is None else contents.answers.before(key, call)
        if done is not None:
            return done
        with staging_area(contents.directory) as place:
            study = _whole(dump, LocalCheckpoints(place / "checkpoints", sync=False), save)
            with contents.lock:
                return contents.answers.run(key, call, lambda: _appear(contents, study))


def _whole(
    dump: StudyDump, checkpoints: LocalCheckpoints, save: CheckpointWriter
) -> ReferenceStudy:
    study = _restored(dump, checkpoints)
    save(checkpoints)
    study.on_disk = study.needed
    study.stopped, by = dump.stopped_for(study.missing())
    study.at_target, study.incomplete = by == "target", by == "import"
    study.undecided = by == "decision"
    return study


def _appear(contents: Studies, study: ReferenceStudy) -> int:
    name = study.record.name
    if any(there.record.name == name for there in contents.studies.values()):
        raise StudyExists(f"name: there is a study {name!r} in {contents.url} already")
    study.id = next(contents.numbers)
    home = contents.directory / str(study.id)
    publish_dir(study.checkpoints, home)
    study.checkpoints = LocalCheckpoints(home, sync=False)
    contents.add(study)
    return study.id


def _dump(study: ReferenceStudy) -> StudyDump:
    return StudyDump(
        record=study.record,
        created_at=study.created_at,
        started_at=study.started_at,
        stopped=study.stopped,
        stopped_by=study.stopped_by,
        pins=sorted(study.pins, key=lambda job: (job.member, job.round)),
        interventions=study.interventions,
        members=map(_member, study.slots),
        jobs=iter(study.log.values()),
        points=_points(study),
        failures=iter(study.failed),
    )


def _member(slot: Slot) -> MemberDump:
    if slot.head.state is HeadState.RUNNING:
        head = replace(slot.head, state=HeadState.QUEUED)
        slot = replace(slot, head=head, attempt=slot.attempt - 1, started_at=None)
    return MemberDump(
        slot.head, slot.attempt, slot.losses, slot.failures, slot.started_at, slot.error
    )


def _points(study: ReferenceStudy) -> Iterator[JobPoint]:
    for job, points in study.points.items():
        for point in points:
            yield JobPoint(job, point)
    for slot in study.slots:
        if slot.head.state is HeadState.QUEUED:
            for point in slot.points:
                yield JobPoint(JobId(slot.head.member, slot.head.round), point)


def _restored(dump: StudyDump, checkpoints: LocalCheckpoints) -> ReferenceStudy:
    slots = [
        Slot(
            m.head,
            attempt=m.attempt,
            failures=m.failures,
            losses=m.losses,
            started_at=m.started_at,
            error=m.error,
        )
        for m in dump.members
    ]
    study = ReferenceStudy(0, dump.record, checkpoints, slots, dump.created_at, dump.started_at)
    for job in dump.jobs:
        study.log[job.id] = row = replace(job, parent_checkpoint=study.address(job.parent))
        study.points[row.id] = []
        slots[row.member].newest = row
        study.changed_at = row.finished_at
    for slot in slots:
        if slot.newest is not None and slot.healthy and slot.head.parent != slot.newest.id:
            slot.left = slot.newest.id
    for logged in dump.points:
        job_points = study.points.get(logged.job)
        if job_points is None:
            job_points = slots[logged.job.member].points
        job_points.append(logged.point)
    study.failed = list(dump.failures)
    study.pins = set(dump.pins)
    study.interventions = list(dump.interventions)
    study.best = study.best_of(job for job in study.log.values() if job.score is not None)
    return study


def _chosen(study: ReferenceStudy, which: Chosen) -> dict[JobId, str]:
    if not isinstance(which, str):
        return {job: _address(study, job) for job in which}
    best = [] if study.best is None else [study.best.id]
    pinned = sorted(study.pins, key=lambda job: (job.member, job.round))
    parents = [slot.head.parent for slot in study.slots]
    left = [slot.left for slot in study.slots]
    choices: dict[str, list[JobId | None]] = {
        "none": [],
        "best": [*best],
        "pinned": [*pinned],
        "kept": [*best, *parents, *left, *pinned],
    }
    return {job: a for job in choices[which] if job is not None and (a := study.address(job))}


def _address(study: ReferenceStudy, job: JobId) -> str:
    address = study.address(job)
    if address is None:
        own = (j for j in study.log.values() if j.member == job.member)
        done = [j.round for j in own if j.state is JobState.DONE]
        raise not_done(job, members=len(study.slots), last=max(done, default=None))
    return address
