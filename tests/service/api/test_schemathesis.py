"""Thousands of requests made from the OpenAPI document: no fault of ours in any answer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
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

CASES = 5000
PER_OPERATION = 250  # of many operations there are fewer requests than that
CHECKS = [
    schemathesis.checks.not_a_server_error,
    of_openapi.content_type_conformance,
    of_openapi.response_schema_conformance,
]


@schemathesis.serializer("application/x-evolvent-study")  # type: ignore[untyped-decorator]
def as_bytes(_: Any, value: Any) -> bytes:
    """Send whatever was made up for the stream of a study."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@dataclasses.dataclass
class Count:
    """How many requests were sent."""

    n: int = 0


def make_study(running: Service, name: str) -> None:
    ev.create_study(
        name, metric="score", mode="max", space={"lr": ev.LogUniform(1e-4, 1)}, population=4,
        rounds=3, durability="process", store=running.store,
    )  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('schema') / 'log.db'}")
    with contextlib.closing(store), service(store) as made:
        for name in ("one", "two", "three"):
            make_study(made, name)
        yield made


@pytest.mark.slow
def test_no_request_that_the_document_leads_to_finds_a_fault(running: Service) -> None:
    schema = schemathesis.openapi.from_dict(routes.document())
    schema.config.update(base_url=running.url)
    headers, count = {"Authorization": f"Bearer {running.token()}"}, Count()
    for result in schema.get_all_operations():
        _try(result.ok(), running, headers, count)
    assert count.n >= CASES


def _try(operation: Any, running: Service, headers: dict[str, str], count: Count) -> None:
    @settings(
        max_examples=PER_OPERATION, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        _aim(case, running)
        count.n += 1
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text

    ask()


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
