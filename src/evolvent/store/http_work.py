"""What workers and people do to a study over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from evolvent.core.records import Hyperparameters, JobId
from evolvent.store import wire
from evolvent.store.fields import mapped
from evolvent.store.http_connection import GivenUp
from evolvent.store.http_requests import Requests, new_key
from evolvent.store.records import Failure, Lease, Point, Report, Wait


class HttpWork(Requests):
    """The part of the store that changes the log."""

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
        wait_s = min(max(0.0, wait.seconds), wire.MOST_WAIT_S) if wait is not None else 0.0
        body = {
            "worker": worker,
            "lease_s": lease_s,
            "prefer": prefer,
            "wait_s": wait_s,
            "key": key or new_key(),
        }
        try:
            given = self._post(f"/studies/{study}/claim", body, wait=wait)
        except GivenUp:
            return None
        return None if given is None else self._read(wire.lease_from_json, given)

    def heartbeat(
        self,
        lease: Lease,
        *,
        lease_s: float,
        points: Sequence[Point] = (),
        key: str | None = None,
    ) -> None:
        told = wire.points_to_json(points)
        key = (key or new_key()) if told else None  # alone, it may as well beat twice
        self._held(lease, "heartbeat", {"lease_s": lease_s, "points": told, "key": key})

    def report(self, lease: Lease, report: Report) -> None:
        self._held(lease, "report", wire.report_to_json(report))

    def fail(self, lease: Lease, failure: Failure, *, key: str | None = None) -> None:
        told = wire.kind_to_json(failure)
        self._held(lease, "fail", {"failure": told, "key": key or new_key()})

    def release(self, study: int, *, worker: str, failure: Failure, key: str | None = None) -> int:
        told = wire.kind_to_json(failure)
        body = {"worker": worker, "failure": told, "key": key or new_key()}
        return int(self._post(f"/studies/{study}/release", body)["released"])

    def reparent(
        self, lease: Lease, *, parent: JobId, reason: str, key: str | None = None
    ) -> Lease:
        body = {"parent": parent, "reason": reason, "key": key or new_key()}
        return self._read(wire.lease_from_json, self._held(lease, "reparent", body))

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
            "done": None if done is None else wire.report_to_json(done),
            "key": key or new_key(),
        }
        pushed = self._post(f"/studies/{study}/push", body)
        return self._read(wire.job_name, mapped({"pushed": pushed}, "pushed")["job"])

    def pin(self, study: int, job: JobId) -> None:
        self._post(f"/studies/{study}/pin", {"job": job})

    def unpin(self, study: int, job: JobId) -> None:
        self._post(f"/studies/{study}/unpin", {"job": job})

    def collect(self, study: int) -> int:
        return int(self._post(f"/studies/{study}/collect", {})["freed"])
