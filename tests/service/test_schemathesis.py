"""Thousands of requests made from the OpenAPI document: no fault of ours in any answer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

import evolvent as ev
from evolvent.service.api import OPERATIONS
from evolvent.store.connect import open_store
from tests.needs import needs
from tests.service.threaded import Service, service

schemathesis = needs("schemathesis")
openapi = pytest.importorskip("evolvent.service.openapi")

# isort: split
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

CASES = 5000
PER_OPERATION = -(-CASES // len(OPERATIONS)) + 20
CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance)


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
    schema = schemathesis.openapi.from_dict(openapi.document())
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
    @_given(operation.as_strategy())
    def ask(case: Any) -> None:
        _aim(case, running)
        count.n += 1
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        assert "Traceback" not in answer.text

    ask()


def _given(strategy: Any) -> Any:
    from hypothesis import given  # noqa: PLC0415 - beside its only use

    return given(case=strategy)


def _aim(case: Any, running: Service) -> None:
    """Point half of the requests at a study that there is: one that was removed is made again."""
    if "study" not in (case.path_parameters or {}):
        return
    if not running.store.studies():
        make_study(running, "again")
    if len(str(case.path_parameters["study"])) % 2:
        case.path_parameters["study"] = running.store.studies()[-1].id
