"""Thousands of requests made from the OpenAPI document: no fault of ours in any answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import evolvent as ev
from evolvent.service.api import routes
from evolvent.store.connect import open_store
from tests.needs import needs
from tests.service.threaded import Service, service

schemathesis = needs("schemathesis")
of_openapi = needs("schemathesis.specs.openapi.checks")

PER_OPERATION = 250  # of some operations there may be fewer requests than that
AT_LEAST = 130  # of each: more than 5,000 of all
METHODS = ("get", "post", "put", "delete")
OPERATIONS = [
    f"{method} {path}"
    for path, item in routes.document()["paths"].items()
    for method in METHODS
    if method in item
]
CHECKS = [
    schemathesis.checks.not_a_server_error,
    of_openapi.content_type_conformance,
    of_openapi.response_schema_conformance,
]


@schemathesis.serializer("application/zip")  # type: ignore[untyped-decorator]
def as_bytes(_: Any, value: Any) -> bytes:
    """Send whatever was made up for the archive of a study."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def make_study(running: Service, name: str) -> None:
    ev.create_study(
        name, metric="score", mode="max", space={"lr": ev.LogUniform(1e-4, 1)}, population=4,
        rounds=3, durability="process", store=running.store,
    )  # fmt: skip


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with contextlib.closing(store), service(store) as made:
        for name in ("one", "two", "three"):
            make_study(made, name)
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)  # spread over the processes that run the tests
def test_no_request_that_the_document_leads_to_finds_a_fault(
    operation: str, running: Service
) -> None:
    method, path = operation.split()
    asked = schemathesis.openapi.from_dict(routes.document())[path][method]
    headers, n_sent = {"Authorization": f"Bearer {running.token()}"}, 0

    @settings(
        max_examples=PER_OPERATION, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=asked.as_strategy())
    def ask(case: Any) -> None:
        nonlocal n_sent
        _aim(case, running)
        n_sent += 1
        answer = case.call(base_url=running.url, headers=headers)
        case.validate_response(answer, checks=CHECKS)
        assert b"Traceback" not in answer.content

    ask()
    assert n_sent >= AT_LEAST


def _aim(case: Any, running: Service) -> None:
    """Point half of the requests at a study that there is: one that was removed is made again."""
    if isinstance(case.body, dict) and case.body.get("wait_s"):
        case.body["wait_s"] = 0  # a claim that waits a minute is as it should be
    if "study" not in (case.path_parameters or {}):
        return
    if not running.store.studies():
        make_study(running, "again")
    if len(str(case.path_parameters["study"])) % 2:
        case.path_parameters["study"] = running.store.studies()[-1].id
