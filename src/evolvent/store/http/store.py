"""The store behind a service: every promise of the protocol is a request.

Decisions are taken there. What changes something carries a key or an attempt, so that it may be
sent again when an answer was lost; points without an offset alone are sent once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from evolvent.core.algorithms import Algorithm, algorithm_to_json
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import ConfigError, LeaseLost, UnknownStudy
from evolvent.store.archive.reader import ArchiveReader
from evolvent.store.archive.restore import PackedStudy
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints
from evolvent.store.codec import messages as m
from evolvent.store.codec.fields import Field
from evolvent.store.codec.strict_json import encode
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.http import dump as whole
from evolvent.store.http.checkpoints import HttpCheckpoints
from evolvent.store.http.connection import Cancelled
from evolvent.store.http.credentials import read_token
from evolvent.store.http.transport import ANSWER_S, Transport
from evolvent.store.interventions import Intervention
from evolvent.store.records import (
    FailedAttempt,
    Failure,
    JobColumn,
    Lease,
    MemberView,
    Point,
    Report,
    StudyStatus,
    Wait,
)
from evolvent.validation import cut, invalid, utf8_text

_JSON = {"Content-Type": "application/json"}
_NO_WAIT = Wait(0.0)

_T = TypeVar("_T")
_B = TypeVar("_B")


class HttpStore:
    """A store that another process serves by `evolvent serve`.

    A token opens it, by default that of this machine (see `credentials`).
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._transport = Transport(url, read_token() if token is None else token)
        self._checkpoints: dict[int, HttpCheckpoints] = {}

    @property
    def url(self) -> str:
        return self._transport.origin.url

    def close(self) -> None:
        self._transport.close()

    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        body = m.NewStudyBody(record, key or uuid4().hex)
        return self._post("/studies", m.NEW_STUDY, body, m.STUDY_ID)

    def status(self, study: int) -> StudyStatus:
        return self._get(f"/studies/{study}", m.STATUS)

    def find_study(self, name: str) -> StudyStatus:
        return self._get(f"/studies/named/{quoted(name)}", m.STATUS)

    def studies(self) -> list[StudyStatus]:
        return self._get("/studies", m.STUDIES)

    def delete_study(self, study: int) -> None:
        self.status(study)  # refuses one that is not there
        with suppress(UnknownStudy):  # gone since: perhaps by this request, and its answer was lost
            self._transport.request("DELETE", f"/studies/{study}")
        self._checkpoints.pop(study, None)

    def checkpoints(self, study: int) -> CheckpointStore:
        if study not in self._checkpoints:
            self.status(study)  # refuses one that is not there
            self._checkpoints[study] = HttpCheckpoints(self._transport, study)
        return self._checkpoints[study]

    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        """Refuse any algorithm but that of the study: decisions are taken by the service.

        Raises:
            ConfigError: it is another one.
        """
        if _stored(algorithm) != _stored(self.status(study).record.algorithm):
            raise invalid(
                "algorithm",
                f"got {cut(algorithm, 120)}, which {self.url} cannot decide with: it takes "
                "the decisions itself, and imports no code of others: wanted a built-in one",
            )

    def claim(
        self,
        study: int,
        *,
        worker: str,
        lease_s: float,
        prefer: int | None = None,
        wait: Wait | None = None,
        key: str | None = None,
    ) -> Lease | None:
        wait = _NO_WAIT if wait is None else wait
        wait_s = min(max(0.0, wait.seconds), m.MOST_WAIT_S)
        body = m.ClaimBody(worker, lease_s, prefer, wait_s, key or uuid4().hex)
        try:
            data = self._send(f"/studies/{study}/claim", m.CLAIM, body, wait)
        except Cancelled:
            return None
        return self._transport.read(m.LEASE, data) if data else None

    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        offset: int | None = None,
    ) -> None:
        body = m.HeartbeatBody(m.Fence.of(lease), lease_s, points, offset)
        # Points without an offset that may have been stored would be stored twice.
        repeat = not points or offset is not None
        self._send_fenced(lease, "heartbeat", m.HEARTBEAT, body, repeat=repeat)

    def report(self, lease: Lease, report: Report) -> None:
        body = m.ReportBody(
            m.Fence.of(lease),
            report.metrics,
            report.checkpoint,
            report.score,
            report.points,
            report.offset,
        )
        self._send_fenced(lease, "report", m.REPORT, body)

    def fail(self, lease: Lease, failure: Failure) -> None:
        self._send_fenced(lease, "fail", m.FAIL, m.FailBody(m.Fence.of(lease), _legible(failure)))

    def release(self, study: int, *, worker: str, failure: Failure) -> int:
        body = m.ReleaseBody(worker, _legible(failure))
        return self._post(f"/studies/{study}/release", m.RELEASE, body, m.RELEASED)

    def reparent(self, lease: Lease, *, parent: JobId, reason: str) -> Lease:
        body = m.ReparentBody(m.Fence.of(lease), parent, utf8_text(reason))
        data = self._send_fenced(lease, "reparent", m.REPARENT, body)
        return self._transport.read(m.LEASE, data)

    # `by` stays here: the service notes the name of the token.

    def stop(self, study: int, *, reason: str, by: str | None = None) -> None:  # noqa: ARG002
        self._send(f"/studies/{study}/stop", m.STOP, m.StopBody(utf8_text(reason)))

    def resume(self, study: int, *, by: str | None = None) -> None:  # noqa: ARG002
        self._send(f"/studies/{study}/resume", m.NOTHING, {})

    def extend(self, study: int, *, rounds: int, by: str | None = None) -> None:  # noqa: ARG002
        self._send(f"/studies/{study}/extend", m.EXTEND, rounds)

    def retarget(self, study: int, *, target: float | None, by: str | None = None) -> None:  # noqa: ARG002
        self._send(f"/studies/{study}/retarget", m.RETARGET, target)

    def remember(self, study: int, *, trainable: str) -> None:
        self._send(f"/studies/{study}/remember", m.REMEMBER, trainable)

    def push(
        self,
        study: int,
        hyperparameters: Hyperparameters,
        *,
        done: Report | None = None,
        key: str | None = None,
        by: str | None = None,  # noqa: ARG002
    ) -> JobId:
        body = m.PushBody(dict(hyperparameters), done, key or uuid4().hex)
        return self._post(f"/studies/{study}/push", m.PUSH, body, m.JOB_ID)

    def pin(self, study: int, job: JobId) -> None:
        self._send(f"/studies/{study}/pin", m.ONE_JOB, job)

    def unpin(self, study: int, job: JobId) -> None:
        self._send(f"/studies/{study}/unpin", m.ONE_JOB, job)

    def collect(self, study: int) -> int:
        return self._post(f"/studies/{study}/collect", m.NOTHING, {}, m.FREED)

    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        words = None if states is None else [state.value for state in states]
        path = f"/studies/{study}/jobs"
        return list(self._lines(path, m.JOB, state=words, after=after, limit=limit))

    def scan(
        self, study: int, columns: Sequence[JobColumn], *, after: int = 0, limit: int | None = None
    ) -> list[tuple[Any, ...]]:
        path = f"/studies/{study}/scan"
        return list(self._lines(path, m.ROW, columns=columns, after=after, limit=limit))

    def job(self, study: int, job: JobId) -> JobRecord:
        return self._get(f"/studies/{study}/jobs/{quoted(job)}", m.JOB)

    def members(self, study: int) -> list[MemberView]:
        return list(self._lines(f"/studies/{study}/members", m.MEMBER))

    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        return self._get(f"/studies/{study}/lineage/{quoted(job)}", m.JOBS)

    def points(self, study: int, job: JobId) -> list[Point]:
        return list(self._lines(f"/studies/{study}/points/{quoted(job)}", m.POINT))

    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        rows = self._lines(f"/studies/{study}/members/{member}/points", m.MEMBER_POINT)
        return [(int(round_), step, str(values)) for round_, step, values in rows]

    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        return list(self._lines(f"/studies/{study}/failures", m.FAILED, limit=limit))

    def interventions(self, study: int, *, limit: int | None = None) -> list[Intervention]:
        return list(self._lines(f"/studies/{study}/interventions", m.INTERVENTION, limit=limit))

    def pins(self, study: int) -> list[JobId]:
        return self._get(f"/studies/{study}/pins", m.JOB_IDS)

    @contextmanager
    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> Iterator[tuple[StudyDump, HeldCheckpoints]]:
        with whole.scratch_directory() as name:
            scratch = Path(name)
            path = scratch / "study.zip"
            whole.download(self._transport, study, checkpoints, path)
            with ArchiveReader(path, called=f"what {self.url} has sent") as archive:
                packed = PackedStudy(archive)
                yield packed.dump(), packed.unpack(scratch)

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        with whole.scratch_directory() as scratch:
            archive = whole.pack(dump, save, Path(scratch))
            data = whole.upload(self._transport, archive, key or uuid4().hex)
        return self._transport.read(m.STUDY_ID, data)

    def _get(self, path: str, kind: Field[_T]) -> _T:
        return self._transport.read(kind, self._transport.request("GET", path))

    def _lines(self, path: str, kind: Field[_T], **query: Any) -> Iterator[_T]:
        """Read a list line by line; a query leaves out what is None, and has lists with commas."""
        given = {name: value for name, value in query.items() if value is not None}
        texts = {n: ",".join(v) if isinstance(v, (list, tuple)) else v for n, v in given.items()}
        path = f"{path}?{urlencode(texts)}" if texts else path
        return (self._transport.read(kind, line) for line in self._transport.lines(path) if line)

    def _post(self, path: str, kind: Field[_B], body: _B, reply: Field[_T]) -> _T:
        return self._transport.read(reply, self._send(path, kind, body))

    def _send(
        self, path: str, kind: Field[_B], body: _B, wait: Wait = _NO_WAIT, *, repeat: bool = True
    ) -> bytes:
        """Send a JSON object.

        Raises:
            ConfigError: it has a value that no JSON can hold.
            Cancelled: the wait was ended before the answer came.
        """
        try:
            text = encode(kind.to_json(body)).encode("ascii")
        except ValueError as e:
            raise ConfigError(f"{path}: a value that no JSON can hold: {e}") from e
        return self._transport.request(
            "POST",
            path,
            text,
            headers=_JSON,
            timeout_s=ANSWER_S + wait.seconds,
            cancel=wait.cancel,
            repeat=repeat,
        )

    def _send_fenced(
        self, lease: Lease, action: str, kind: Field[_B], body: _B, *, repeat: bool = True
    ) -> bytes:
        """Send what concerns a lease, which is lost when its study is gone, too."""
        try:
            return self._send(f"/studies/{lease.study}/{action}", kind, body, repeat=repeat)
        except UnknownStudy as e:
            raise LeaseLost(f"{lease.job.id}: its study has been removed") from e


def _stored(algorithm: Algorithm) -> object:
    try:
        return algorithm_to_json(algorithm)
    except ConfigError:
        return algorithm


def _legible(failure: Failure) -> Failure:
    traceback = None if failure.traceback is None else utf8_text(failure.traceback)
    return replace(failure, message=utf8_text(failure.message), traceback=traceback)


def quoted(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")
