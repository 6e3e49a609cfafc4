"""The table of jobs: its order, its pages, what a search finds; on any store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import evolvent as ev
from evolvent.errors import ConfigError
from evolvent.service.dashboard.column_cache import Columns
from evolvent.service.dashboard.query import Query
from evolvent.service.dashboard.table import ROWS, Page, Table


def train(job: ev.Job) -> dict[str, float]:
    (job.directory / "weights").write_text("w")
    if job.member == 2 and job.round == 1:
        raise ValueError("one that fails")
    return {"loss": abs(job.hyperparameters["lr"] - 0.1) + job.round, "other": float(job.member)}


@pytest.fixture
def study() -> Iterator[ev.Study]:
    made = ev.create_study(
        "table",
        metric="loss",
        mode="min",
        population=5,
        rounds=16,
        seed=2,
        space={"lr": ev.LogUniform(1e-4, 1.0), "kind": ev.Choice((1, "zwei", None))},
        store="memory://",
    )
    made.run(train, workers=0, progress=False)
    yield made
    made.store.close()


def page(study: ev.Study, **wanted: Any) -> Page:
    status = study.status()
    return Table(study.store, status, Columns(study.store, status.id)).page(Query(**wanted))


def test_newest_jobs_come_first_and_pages_join_without_gap(study: ev.Study) -> None:
    shown = [*page(study).jobs, *page(study, page=2).jobs]
    assert [job.id for job in shown] == [job.id for job in reversed(study.jobs())]
    assert len(page(study).jobs) == ROWS


def test_page_beyond_the_end_is_the_last_one(study: ev.Study) -> None:
    assert page(study, page=99).query.page == 2


def test_metric_sorts_by_what_training_reported_and_failed_jobs_come_last(
    study: ev.Study,
) -> None:
    for order in ("ascending", "descending"):
        found = [*page(study, sort="score", order=order).jobs]
        found += page(study, sort="score", order=order, page=2).jobs
        values = [job.metrics["loss"] for job in found if job.score is not None]
        assert values == sorted(values, reverse=order == "descending")
        assert found[-1].score is None


@pytest.mark.parametrize("key", ["h.lr", "h.kind", "m.other", "parent", "took", "job", "worker"])
def test_every_column_sorts_all_jobs(study: ev.Study, key: str) -> None:
    shown = [*page(study, sort=key).jobs, *page(study, sort=key, page=2).jobs]
    assert sorted(job.id for job in shown) == sorted(job.id for job in study.jobs())


def test_search_finds_ids_states_and_tracebacks(study: ev.Study) -> None:
    assert [job.id for job in page(study, search="ONE THAT fails").jobs] == ["m2r1"]
    assert {job.member for job in page(study, search="m3r1").jobs} >= {3}
    assert page(study, search="nothing has this").matching == 0


def test_open_jobs_stand_before_finished_ones_and_grow_into_them(study: ev.Study) -> None:
    study.extend(17)
    status = study.status()
    kept = Columns(study.store, study.id)
    before = Table(study.store, status, kept).page(Query(sort="score"))
    assert page(study).jobs[0].state == "queued"
    assert page(study, state="queued").matching == 5
    study.run(train, workers=0, progress=False)
    after = Table(study.store, study.status(), kept).page(Query(sort="score"))
    assert after.jobs[0].metrics["loss"] >= 16
    assert before.all == after.all == 85


def test_unknown_columns_are_named(study: ev.Study) -> None:
    with pytest.raises(ConfigError, match=r"columns: got 'x'.*h\.lr"):
        page(study, columns=("x",))
    with pytest.raises(ConfigError, match="sort: got 'x'"):
        page(study, sort="x")


def test_address_keeps_what_is_wanted_and_turns_the_order_round() -> None:
    query = Query(search="a&b", sort="h.lr", page=3, columns=("job", "h.lr"))
    assert query.href(page=4) == (
        "?q=a%26b&sort=h.lr&order=descending&page=4&columns=job&columns=h.lr"
    )
    assert "order=ascending" in query.towards("h.lr")
    assert "page" not in query.towards("h.lr")
