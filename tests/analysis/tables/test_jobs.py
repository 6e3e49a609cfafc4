"""Jobs and metrics as frames of pandas and polars."""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.cli.render.fields import Fields
from evolvent.core.records import JobRecord, JobState
from evolvent.core.space import Space
from evolvent.errors import EvolventError, MissingExtra
from evolvent.result import Result
from evolvent.store.protocol import Store
from evolvent.store.records import Point, Report
from tests.analysis.test_log import bred, crew
from tests.contract.crew import INVALID, LONG, RETURNED, Crew
from tests.needs import needs

pandas = needs("pandas")
polars = needs("polars")

EVERY_KIND = Space.of(
    {
        "real": ev.LogUniform(1e-3, 1.0),
        "whole": ev.IntUniform(1, 9),
        "word": ev.Choice(["a", "b", "never drawn"], weights=[1, 1, 0]),
        "flag": ev.Choice([True, False]),
        "some": ev.Choice([1, None]),
        "mixed": ev.Choice([1, "x", None, True]),
        "inner": {"lr": 0.5},
    }
)


def result(crew: Crew) -> Result:
    return Result(crew.status(), crew.store)


def busy() -> Crew:
    """One job done, one failed, one running, one queued, one cancelled."""
    made = crew(population=4, rounds=2)
    made.train(0.5, member=0)
    made.fail(made.claim_of(1), INVALID)
    made.claim_of(2, worker="w2")
    return made


def every_kind() -> Crew:
    made = crew(space=EVERY_KIND, population=40, rounds=1)
    for _ in range(39):
        made.train(0.5)
    return made


# --- jobs --------------------------------------------------------------------------------------


def test_a_row_is_a_job_and_open_jobs_are_there():
    frame = result(busy()).jobs()
    assert dict(zip(frame["id"], frame["state"], strict=True)) == {
        "m0r0": "done",
        "m1r0": "failed",
        "m0r1": "queued",
        "m1r1": "cancelled",
        "m2r0": "running",
        "m3r0": "queued",
    }
    assert frame["id"].tolist() == ["m0r0", "m1r0", "m0r1", "m1r1", "m2r0", "m3r0"]
    done = frame.iloc[0]
    assert (done["member"], done["round"], done["attempt"], done["score"]) == (0, 0, 1, 0.5)
    assert done["accuracy"] == 0.5
    assert done["seconds"] >= 0
    for column in ("score", "accuracy", "checkpoint"):
        assert frame[column].isna().tolist() == [False, True, True, True, True, True], column
    for column in ("finished_at", "seconds"):
        assert frame[column].isna().tolist() == [False, False, True, True, True, True], column
    assert frame["worker"].tolist()[4] == "w2"


@pytest.mark.parametrize("state", ["done", "failed", "running", "queued", "cancelled"])
def test_jobs_can_be_chosen_by_state(state: str):
    made = busy()
    wanted = [job.id for job in made.store.jobs(made.id, states=[JobState(state)])]
    for engine in ("pandas", "polars"):
        frame = result(made).jobs(state, engine=engine)
        assert list(frame["id"]) == wanted
        assert list(frame.columns) == list(result(made).jobs(engine=engine).columns)


def test_columns_have_the_names_that_the_command_line_knows():
    made = crew(space=Space.of({"lr": 0.1, "round": 1.0, "loss": 0.3}), population=1, rounds=1)
    lease = made.claim()
    made.store.report(
        lease, Report(0.5, {"accuracy": 0.5, "loss": 2.0, "member": 7.0}, made.save())
    )
    frame = result(made).jobs()
    jobs = made.store.jobs(made.id)
    assert set(frame.columns) == set(Fields.of(made.record.space, jobs).names)
    row = frame.iloc[0]
    assert (row["round"], row["hyperparameters.round"]) == (0, 1.0)
    assert (row["loss"], row["metrics.loss"]) == (0.3, 2.0)
    assert (row["member"], row["metrics.member"]) == (0, 7.0)


def test_whom_a_job_copied_is_its_donor():
    frame = result(bred()).jobs().set_index("id")
    assert frame["parent"].dropna().to_dict() == {
        "m0r1": "m0r0", "m1r1": "m0r1", "m0r2": "m0r1", "m1r2": "m0r1",
    }  # fmt: skip
    assert frame["donor"].dropna().to_dict() == {"m1r1": 0, "m1r2": 0}
    assert frame["reason"]["m1r1"].startswith("score 0.25")
    assert frame["cause"].to_dict() == {
        "m0r0": "drawn",
        "m1r0": "drawn",
        "m0r1": "kept",
        "m1r1": "copied",
        "m0r2": "undecided",
        "m1r2": "copied",
    }
    assert frame["error"].dropna().to_dict() == {"m1r1": "accuracy is nan"}
    assert frame["checkpoint"].notna().tolist() == [True, True, True, False, False, False]


OWN_TYPES = {
    "id": "string",
    "member": "Int64",
    "round": "Int64",
    "state": "category",
    "score": "float64",
    "parent": "string",
    "donor": "Int64",
    "attempt": "Int64",
    "checkpoint": "string",
    "reason": "string",
    "cause": "category",
    "error": "string",
    "worker": "category",
    "started_at": "datetime64[us, UTC]",
    "finished_at": "datetime64[us, UTC]",
    "seconds": "float64",
    "lease_until": "datetime64[us, UTC]",
}


def test_types_of_pandas_are_the_same_with_jobs_and_without():
    types = {
        **OWN_TYPES,
        "real": "float64",
        "whole": "Int64",
        "word": "category",
        "flag": "boolean",
        "some": "Int64",
        "mixed": "category",
        "inner.lr": "float64",
    }
    frame = result(every_kind()).jobs()
    assert frame.dtypes.astype(str).to_dict() == {**types, "accuracy": "float64"}
    fresh = result(crew(space=EVERY_KIND, population=40)).jobs()
    assert fresh.dtypes.astype(str).to_dict() == {**types, "accuracy": "float64"}
    assert len(fresh) == 40


def test_the_metric_has_its_column_also_when_every_job_failed():
    made = crew(population=2, max_failures=0)
    for _ in range(2):
        made.fail(made.claim("w1"))
    frame = result(made).jobs()
    assert set(frame["state"]) == {"failed", "cancelled"}
    assert frame["accuracy"].isna().all()
    with pytest.raises(EvolventError, match="no best job: all its jobs failed"):
        _ = result(made).best


def test_values_of_every_kind_come_through():
    made = every_kind()
    frame, table = result(made).jobs(), result(made).jobs(engine="polars")
    assert list(frame["word"].cat.categories) == ["a", "b", "never drawn"]
    for name in ("real", "whole", "word", "flag", "some"):
        wanted = [job.hyperparameters[name] for job in made.store.jobs(made.id)]
        assert table[name].to_list() == wanted, name
        assert [None if pandas.isna(v) else v for v in frame[name]] == wanted, name
    told = {(repr(job.hyperparameters["mixed"])) for job in made.store.jobs(made.id)}
    assert told == {"1", "'x'", "None", "True"}
    assert set(table["mixed"].to_list()) == {"1", "x", None, "True"}


def test_types_of_polars():
    schema = result(every_kind()).jobs(engine="polars").schema
    time_type = polars.Datetime("us", "UTC")
    wanted = {
        "id": polars.String, "member": polars.Int64, "state": polars.Categorical,
        "score": polars.Float64, "accuracy": polars.Float64, "whole": polars.Int64,
        "word": polars.Categorical, "flag": polars.Boolean, "donor": polars.Int64,
        "started_at": time_type, "finished_at": time_type,
    }  # fmt: skip
    assert {name: schema[name] for name in wanted} == wanted


def test_what_is_missing_is_null_and_nan_is_a_value():
    made = crew(population=2, rounds=1)
    for metrics in ({"accuracy": 0.5, "loss": math.nan}, {"accuracy": 0.5}):
        made.store.report(made.claim(), Report(0.5, metrics, made.save()))
    loss = result(made).jobs(engine="polars")["loss"]
    assert loss.is_null().to_list() == [False, True]
    assert math.isnan(loss[0])
    assert result(made).jobs()["loss"].isna().all()


class Busy:
    """A store in which something happens right after the open jobs have been read."""

    def __init__(self, store: Store, then: Callable[[], object]) -> None:
        self.store, self.then = store, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def jobs(self, study: int, **how: Any) -> list[JobRecord]:
        found = self.store.jobs(study, **how)
        self.then()
        return found


def test_a_job_that_is_reported_while_we_read_is_there_once():
    made = crew(population=2, rounds=2)
    running = made.claim_of(1)
    store: Any = Busy(made.store, lambda: made.report(running, 0.5))
    frame = Result(made.status(), store).jobs()
    assert frame[["id", "state"]].astype(str).to_numpy().tolist() == [
        ["m1r0", "done"],
        ["m0r0", "queued"],
    ]


def test_times_are_in_utc():
    made = crew(population=1, rounds=1)
    made.train(0.5)
    (job,) = made.store.jobs(made.id)
    assert job.started_at is not None
    wanted = datetime.datetime.fromtimestamp(job.started_at, datetime.UTC)
    for engine in ("pandas", "polars"):
        told = result(made).jobs(engine=engine)["started_at"][0]
        assert abs((told - wanted).total_seconds()) < 2e-6


def test_a_study_without_jobs_gives_frames_all_the_same():
    made = crew(population=3)
    for engine in ("pandas", "polars"):
        assert len(result(made).jobs(engine=engine)) == 3
        assert len(result(made).jobs("done", engine=engine)) == 0
        assert len(result(made).metrics(engine=engine)) == 0


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"state": "over"}, "state: got 'over', wanted 'queued' or 'running' or 'done'"),
        ({"engine": "excel"}, "engine: got 'excel', wanted 'pandas' or 'polars'"),
    ],
)
def test_an_unknown_state_or_engine_is_named(how: dict[str, Any], told: str):
    with pytest.raises(ev.ConfigError, match=told):
        result(crew()).jobs(**how)


# --- metrics -----------------------------------------------------------------------------------


def logging() -> Crew:
    """Member 1 reports first; its first attempt, which failed, logged a point as well."""
    made = crew(population=2, rounds=2)
    lease = made.claim_of(1)
    made.store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": 99.0})])
    made.fail(lease, RETURNED)
    made.report(made.claim_of(1), 0.75, [Point(10, {"loss": 2.0, "grad": 7.0})])
    made.report(made.claim_of(0), 0.5, [Point(20, {"loss": 3.0}), Point(10, {"loss": 4.0})])
    made.store.heartbeat(made.claim_of(0), lease_s=LONG, points=[Point(30, {"loss": math.inf})])
    return made


def test_points_of_a_round_come_before_what_it_came_to():
    frame = result(logging()).metrics(engine="polars")
    assert frame.rows() == [
        (0, 0, 20.0, "loss", 3.0),
        (0, 0, 10.0, "loss", 4.0),
        (0, 0, None, "accuracy", 0.5),
        (0, 1, 30.0, "loss", math.inf),
        (1, 0, 10.0, "loss", 2.0),
        (1, 0, 10.0, "grad", 7.0),
        (1, 0, None, "accuracy", 0.75),
    ]


def test_metrics_can_be_chosen_by_name():
    frame = result(logging()).metrics("grad", "accuracy")
    assert frame["name"].tolist() == ["accuracy", "grad", "accuracy"]
    assert frame.dtypes.astype(str).to_dict() == {
        "member": "Int64", "round": "Int64", "step": "float64", "name": "category",
        "value": "float64",
    }  # fmt: skip
    with pytest.raises(ev.ConfigError, match=r"'lost'.*accuracy, loss, grad"):
        result(logging()).metrics("lost")
    with pytest.raises(ev.ConfigError, match="none yet"):
        result(crew()).metrics("loss")


# --- without the libraries ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "owner", "read"),
    [
        ("pandas", "as_pandas", lambda r, _: r.jobs()),
        ("polars", "as_polars", lambda r, _: r.jobs(engine="polars")),
        ("pyarrow", "as_arrow", lambda r, path: r.to_parquet(path / "jobs.parquet")),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    library: str,
    owner: str,
    read: Callable[[Result, Path], Any],
):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"evolvent.analysis.tables.{owner}", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'evolvent\[\w+\]'"):
        read(result(crew()), tmp_path)
    assert list(tmp_path.iterdir()) == []
