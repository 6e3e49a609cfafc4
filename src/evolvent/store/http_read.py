"""Reading the log over HTTP: what may be long comes line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.store import wire
from evolvent.store.fields import listed
from evolvent.store.http_requests import Requests, pages, quoted
from evolvent.store.records import FailedAttempt, JobColumn, MemberView, Point


class HttpRead(Requests):
    """The part of the store that only looks."""

    def jobs(
        self,
        study: int,
        *,
        states: Iterable[JobState] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[JobRecord]:
        wanted = None if states is None else [state.value for state in states]
        query = pages({"state": wanted, "after": after, "limit": limit})
        return list(self._lines(f"/studies/{study}/jobs", wire.job_from_json, query))

    def scan(
        self,
        study: int,
        columns: Sequence[JobColumn],
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        query = pages({"columns": columns, "after": after, "limit": limit})
        return list(self._lines(f"/studies/{study}/scan", tuple, query))

    def job(self, study: int, job: JobId) -> JobRecord:
        return self._read(wire.job_from_json, self._get(f"/studies/{study}/jobs/{quoted(job)}"))

    def members(self, study: int) -> list[MemberView]:
        return list(self._lines(f"/studies/{study}/members", wire.member_from_json))

    def lineage(self, study: int, job: JobId) -> list[JobRecord]:
        found = self._get(f"/studies/{study}/lineage/{quoted(job)}")
        return [self._read(wire.job_from_json, job) for job in self._listed(found, "jobs")]

    def points(self, study: int, job: JobId) -> list[Point]:
        return list(self._lines(f"/studies/{study}/points/{quoted(job)}", wire.point_from_json))

    def points_of(self, study: int, member: int) -> list[tuple[int, float, str]]:
        return list(self._lines(f"/studies/{study}/members/{member}/points", _member_point))

    def failures(self, study: int, *, limit: int = 100) -> list[FailedAttempt]:
        query = {"limit": limit}
        return list(self._lines(f"/studies/{study}/failures", wire.attempt_from_json, query))

    def pins(self, study: int) -> list[JobId]:
        found = self._get(f"/studies/{study}/pins")
        return [self._read(wire.job_name, job) for job in self._listed(found, "jobs")]

    def _listed(self, found: Any, name: str) -> list[Any]:
        return self._read(lambda data: listed(data, name), found)


def _member_point(row: Any) -> tuple[int, float, str]:
    round_, step, values = row
    return int(round_), step, str(values)
