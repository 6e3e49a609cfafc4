"""The store behind a service: every promise of the protocol is a request.

Decisions are taken there. What changes something carries a key or an attempt, so that it may be
sent again when an answer was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from evolvent.core.algorithms import Algorithm, algorithm_to_json
from evolvent.core.records import Hyperparameters, JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.errors import ConfigError, EvolventError, LeaseLost, StoreError, UnknownStudy
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.checkpoints.transfer import CheckpointWriter, HeldCheckpoints
from evolvent.store.codec import messages, records
from evolvent.store.codec.fields import Malformed, array, encode, object_, strict_json
from evolvent.store.codec.stream import Received
from evolvent.store.dump import Chosen, StudyDump
from evolvent.store.http import dump as whole
from evolvent.store.http.checkpoints import HttpCheckpoints
from evolvent.store.http.connection import Cancelled
from evolvent.store.http.credentials import read_token
from evolvent.store.http.transport import ANSWER_S, Transport
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
from evolvent.validation import invalid

_NO_CONTENT = 204
_JSON = {"Content-Type": "application/json"}

_T = TypeVar("_T")


class HttpStore:
    """A store that another process serves by `evolvent serve`.

    Args:
        url: of the service.
        token: opens it; by default that of this machine (see `credentials`).
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
        body = {"record": record.to_json(), "key": key or _new_key()}
        return int(self._post("/studies", body)["id"])

    def status(self, study: int) -> StudyStatus:
        return self._read(messages.status_from_json, self._get(f"/studies/{study}"))

    def find_study(self, name: str) -> StudyStatus:
        return self._read(messages.status_from_json, self._get(f"/studies/named/{quoted(name)}"))

    def studies(self) -> list[StudyStatus]:
        found = self._read(lambda data: array(data, "studies"), self._get("/studies"))
        return [self._read(messages.status_from_json, status) for status in found]

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
                f"got {algorithm!r:.120}, which {self.url} cannot decide with: it takes "
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
        wait_s = min(max(0.0, wait.seconds), messages.MOST_WAIT_S) if wait is not None else 0.0
        body = {
            "worker": worker,
            "lease_s": lease_s,
            "prefer": prefer,
            "wait_s": wait_s,
            "key": key or _new_key(),
        }
        try:
            lease = self._post(f"/studies/{study}/claim", body, wait=wait)
        except Cancelled:
            return None
        return None if lease is None else self._read(messages.lease_from_json, lease)

    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        key: str | None = None,
    ) -> None:
        # Without points it may as well beat twice, and the service need not remember it.
        key = (key or _new_key()) if points else None
        body = {"lease_s": lease_s, "points": messages.points_to_json(points), "key": key}
        self._post_fenced(lease, "heartbeat", body)

    def report(self, lease: Lease, report: Report) -> None:
        self._post_fenced(lease, "report", messages.report_to_json(report))

    def fail(self, lease: Lease, failure: Failure, *, key: str | None = None) -> None:
        body = {"failure": records.failure_to_json(failure), "key": key or _new_key()}
        self._post_fenced(lease, "fail", body)

    def release(self, study: int, *, worker: str, failure: Failure, key: str | None = None) -> int:
        described = records.failure_to_json(failure)
        body = {"worker": worker, "failure": described, "key": key or _new_key()}
        return int(self._post(f"/studies/{study}/release", body)["released"])

    def reparent(
        self, lease: Lease, *, parent: JobId, reason: str, key: str | None = None
    ) -> Lease:
        body = {"parent": parent, "reason": reason, "key": key or _new_key()}
        return self._read(messages.lease_from_json, self._post_fenced(lease, "reparent", body))

    def stop(self, study: int, *, reason: str) -> None:
        self._post(f"/studies/{study}/stop", {"reason": reason})

    def resume(self, study: int) -> None:
        self._post(f"/studies/{study}/resume", {})

    def extend(self, study: int, *, rounds: int) -> None:
        self._post(f"/studies/{study}/extend", {"rounds": rounds})

    def retarget(self, study: int, *, target: float | None) -> None:
        self._post(f"/studies/{study}/retarget", {"target": target})

    def remember(self, study: int, *, trainable: str) -> None:
        self._post(f"/studies/{study}/remember", {"trainable": trainable})

    def push(
        self,
        study: int,
        hyperparameters: Hyperparameters,
        *,
        done: Report | None = None,
        key: str | None = None,
    ) -> JobId:
        body = {
            "hyperparameters": dict(hyperparameters),
            "done": None if done is None else messages.report_to_json(done),
            "key": key or _new_key(),
        }
        pushed = self._post(f"/studies/{study}/push", body)
        return self._read(messages.job_name, object_({"pushed": pushed}, "pushed")["job"])

    def pin(self, study: int, job: JobId) -> None:
        self._post(f"/studies/{study}/pin", {"job": job})

    def unpin(self, study: int, job: JobId) -> None:
        self._post(f"/studies/{study}/unpin", {"job": job})

    def collect(self, study: int) -> int:
        return int(self._post(f"/studies/{study}/collect", {})["freed"])

    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        words = None if states is None else [state.value for state in states]
        query = _query({"state": words, "after": after, "limit": limit})
        return list(self._lines(f"/studies/{study}/jobs", messages.job_from_json, query))

    def scan(
        self,
        study: int,
        columns: Sequence[JobColumn],
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        query = _query({"columns": columns, "after": after, "limit": limit})
        return list(self._lines(f"/studies/{study}/scan", tuple, query))

    def job(self, study: int, job: JobId) -> JobRecord:
        return self._read(messages.job_from_json, self._get(f"/studies/{study}/jobs/{quoted(job)}"))

    def members(self, study: int) -> list[MemberView]:
        return list(self._lines(f"/studies/{study}/members", messages.member_from_json))

    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        found = self._get(f"/studies/{study}/lineage/{quoted(job)}")
        return [self._read(messages.job_from_json, job) for job in self._listed(found, "jobs")]

    def points(self, study: int, job: JobId) -> list[Point]:
        return list(self._lines(f"/studies/{study}/points/{quoted(job)}", messages.point_from_json))

    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        return list(self._lines(f"/studies/{study}/members/{member}/points", _member_point))

    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        query = {"limit": limit}
        return list(self._lines(f"/studies/{study}/failures", records.attempt_from_json, query))

    def pins(self, study: int) -> list[JobId]:
        found = self._get(f"/studies/{study}/pins")
        return [self._read(messages.job_name, job) for job in self._listed(found, "jobs")]

    def _listed(self, found: Any, name: str) -> list[Any]:
        return self._read(lambda data: array(data, name), found)

    @contextmanager
    def dump(
        self, study: int, *, checkpoints: Chosen
    ) -> Iterator[tuple[StudyDump, HeldCheckpoints]]:
        with whole.scratch_directory() as scratch:
            stream = scratch / "stream"
            whole.download(self._transport, study, checkpoints, stream)
            received = self._read(Received.of, stream)
            directories = dict(received.unpack(lambda name: _made(scratch / name)))
            yield received.dump(), HeldCheckpoints(received.addresses, directories)

    def restore(self, dump: StudyDump, *, save: CheckpointWriter, key: str | None = None) -> int:
        with whole.scratch_directory() as scratch:
            stream = whole.written(dump, save, scratch)
            answer = whole.upload(self._transport, stream, key or _new_key())
        return int(self._json(answer.data)["id"])

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._json(self._transport.request("GET", _with(path, query)).data)

    def _lines(
        self,
        path: str,
        from_json: Callable[[Any], _T],
        query: Mapping[str, Any] | None = None,
    ) -> Iterator[_T]:
        for line in self._transport.lines(_with(path, query)):
            if line:
                yield self._read(from_json, self._json(line))

    def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        wait: Wait | None = None,
    ) -> Any:
        """Send a JSON object; return the value that is answered, None for nothing.

        Raises:
            Cancelled: the wait was ended before the answer came.
        """
        try:
            text = encode(body).encode("ascii")
        except ValueError as e:
            raise ConfigError(f"{path}: a value that no JSON can hold: {e}") from e
        wait = Wait(0.0) if wait is None else wait
        answer = self._transport.request(
            "POST",
            path,
            text,
            headers=_JSON,
            timeout_s=ANSWER_S + wait.seconds,
            cancel=wait.cancel,
        )
        return None if answer.status == _NO_CONTENT else self._json(answer.data)

    def _post_fenced(self, lease: Lease, action: str, body: Mapping[str, Any]) -> Any:
        """Send what concerns a lease.

        Raises:
            LeaseLost: it does not count, also because its study is gone.
        """
        fence = messages.fence_to_json(lease)
        try:
            return self._post(f"/studies/{lease.study}/{action}", {**fence, **body})
        except UnknownStudy as e:
            raise LeaseLost(f"{lease.job.id}: its study has been removed") from e

    def _json(self, data: bytes) -> Any:
        return self._read(strict_json, data)

    def _read(self, from_json: Callable[[Any], _T], data: Any) -> _T:
        try:
            return from_json(data)
        except EvolventError:
            raise
        except (Malformed, ValueError, TypeError, AttributeError, LookupError) as e:
            raise StoreError(f"{self.url} has sent something that is not understood: {e}") from e


def _member_point(row: Any) -> tuple[int, float, str]:
    round_, step, values = row
    return int(round_), step, str(values)


def _stored(algorithm: Algorithm) -> object:
    try:
        return algorithm_to_json(algorithm)
    except ConfigError:
        return algorithm


def _query(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a query without those that are None; lists with commas."""
    given = {name: value for name, value in values.items() if value is not None}
    return {n: ",".join(v) if isinstance(v, (list, tuple)) else v for n, v in given.items()}


def quoted(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def _new_key() -> str:
    """Return a name for one call."""
    return uuid4().hex


def _with(path: str, query: Mapping[str, Any] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
