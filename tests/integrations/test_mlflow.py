"""MLflow: what is written into its own local database is read back through its own client."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from tests.integrations.logged import (
    MEMBERS,
    POINTS,
    ROUNDS,
    bred_study,
    copies,
    new_study,
    own,
    train,
    url,
    write,
)
from tests.needs import needs

needs("alembic")
needs("mlflow")

from mlflow.entities import Metric, Run  # noqa: E402 - after needs
from mlflow.tracking import MlflowClient  # noqa: E402

from evolvent.integrations.mlflow import RunState  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"  # MLflow's own
)


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True, scope="module")
def _closed() -> Iterator[None]:
    """Close the databases that MLflow keeps open until the process ends."""
    yield
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415 - it warns

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with MLflow's empty tables, which take more than a second to make."""
    directory = tmp_path_factory.mktemp("empty")
    MlflowClient(f"sqlite:///{directory}/mlflow.db").search_experiments()
    return directory


@pytest.fixture
def place(empty: Path, tmp_path: Path) -> Path:
    shutil.copytree(empty, tmp_path / "mlflow")
    return tmp_path / "mlflow"


@pytest.fixture(scope="module")
def study() -> ev.Study:
    return bred_study()


@pytest.fixture(scope="module")
def logged(study: ev.Study, empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logged") / "mlflow"
    shutil.copytree(empty, directory)
    write(study, ev.mlflow.Logger(directory))
    return directory


def client(directory: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{directory}/mlflow.db")


def runs(directory: Path, experiment: str = "evolvent") -> dict[str, Run]:
    found = client(directory).get_experiment_by_name(experiment)
    assert found is not None
    return {run.info.run_name: run for run in client(directory).search_runs([found.experiment_id])}


def history(directory: Path, run: Run, name: str) -> list[Metric]:
    return client(directory).get_metric_history(run.info.run_id, name)


def everything(directory: Path) -> dict[str, Any]:
    """Return all that the runs hold, by names instead of ids."""
    found = {}
    for name, run in runs(directory).items():
        points = [
            (metric, m.step, m.value, m.timestamp)
            for metric in run.data.metrics
            for m in history(directory, run, metric)
        ]
        tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
        found[name] = (sorted(points), run.data.params, tags, run.info.status)
    return found


def test_every_member_has_a_run_nested_in_that_of_the_study(logged: Path) -> None:
    found = runs(logged)
    parent = found.pop("bred")
    assert sorted(found) == ["m0", "m1", "m2", "m3"]
    assert {r.data.tags["mlflow.parentRunId"] for r in found.values()} == {parent.info.run_id}
    assert {r.info.status for r in [parent, *found.values()]} == {"FINISHED"}


@pytest.mark.parametrize("member", range(MEMBERS))
def test_hyperparameters_are_metrics_over_rounds_and_tags_in_force(
    study: ev.Study, logged: Path, member: int
) -> None:
    run = runs(logged)[f"m{member}"]
    rates = history(logged, run, "hyperparameters/lr")
    assert [m.step for m in rates] == [1000 * (r + 1) for r in range(ROUNDS)]
    told = own(study, member, lambda job: job.hyperparameters["lr"])
    assert [m.value for m in rates] == told
    assert run.data.tags["hyperparameters/lr"] == str(told[-1])
    nets = own(study, member, lambda job: job.hyperparameters["net"]["activation"])
    assert run.data.tags["hyperparameters/net.activation"] == nets[-1]


def test_parameters_are_what_never_changes(study: ev.Study, logged: Path) -> None:
    found = runs(logged)
    first = study.job("m1r0").hyperparameters
    assert found["m1"].data.params == {
        "initial/lr": str(first["lr"]),
        "initial/net.activation": first["net"]["activation"],
        "initial/net.width": str(first["net"]["width"]),
        "initial/batch": "32",
    }
    assert found["bred"].data.params["population"] == "4"
    assert found["bred"].data.params["space.batch"] == "Constant(value=32)"


def test_metrics_and_points_share_one_axis_that_never_goes_back(
    study: ev.Study, logged: Path
) -> None:
    run = runs(logged)["m0"]
    losses = history(logged, run, "loss")
    assert [m.step for m in losses][: POINTS + 2] == [250, 500, 750, 1000, 1250]
    for name in run.data.metrics:
        steps = [m.step for m in history(logged, run, name)]
        assert steps == sorted(steps), name
    assert [m.value for m in history(logged, run, "at")] == own(
        study, 0, lambda job: job.metrics["at"]
    )


def test_copies_are_marked_and_nothing_else_is(study: ev.Study, logged: Path) -> None:
    found = runs(logged)
    marked = {
        f"m{member}r{m.step // 1000 - 1}": int(m.value)
        for member in range(MEMBERS)
        for m in history(logged, found[f"m{member}"], "evolvent/copied_from")
    }
    assert marked == copies(study)
    assert found["m2"].data.tags["evolvent.copied_from"] == "m1r3"
    assert found["m2"].data.tags["evolvent.copies"] == "2"
    note = found["m2"].data.tags["mlflow.note.content"]
    assert [line.split(":")[0] for line in note.splitlines()] == [
        "- **m2r2** copied **m1r1**", "- **m2r4** copied **m1r3**",
    ]  # fmt: skip
    assert len(found["bred"].data.tags["mlflow.note.content"].splitlines()) == len(copies(study))


def test_the_parent_has_the_best_so_far(study: ev.Study, logged: Path) -> None:
    parent = runs(logged)["bred"]
    best = history(logged, parent, "evolvent/best")
    assert [m.step for m in best] == [1000 * (r + 1) for r in range(ROUNDS)]
    assert best[-1].value == study.result().best.value


def test_a_failed_round_has_no_metric_and_a_mark(logged: Path) -> None:
    run = runs(logged)["m2"]
    assert [m.step for m in history(logged, run, "evolvent/failed")] == [4000]
    assert 4000 not in [m.step for m in history(logged, run, "at")]


def test_by_lineage_a_copy_starts_a_run_where_its_donor_stood(study: ev.Study, place: Path) -> None:
    write(study, ev.mlflow.Logger(place, by="lineage", steps_per_round=1))
    found = runs(place)
    assert set(found) == {"bred", "m0r0", "m1r0", "m2r0", "m3r0", *copies(study)}
    assert [m.step for m in history(place, found["m2r2"], "evolvent/weights_age")] == [3, 4]


def test_names_that_mlflow_refuses_are_spelled_out(place: Path) -> None:
    def odd(job: ev.Job) -> dict[str, float]:
        return train(job) | {"top@1": 1.0, "a//b": 2.0, "../c": 3.0, "x" * 300: float("nan")}

    study = new_study(rounds=1)
    study.run(odd, workers=0, progress=False, loggers=[ev.mlflow.Logger(place)])
    metrics = runs(place)["m0"].data.metrics
    assert metrics["top_40_1"] == 1.0
    assert metrics["a_2f__2f_b"] == 2.0
    assert metrics["_2e__2e__2f_c"] == 3.0
    assert [len(name) for name in metrics if name.startswith("xx")] == [250]


# --- going on ----------------------------------------------------------------------------------


def test_writing_again_changes_nothing(study: ev.Study, logged: Path) -> None:
    before = everything(logged)
    write(study, ev.mlflow.Logger(logged))
    assert everything(logged) == before


def test_a_study_that_goes_on_continues_its_runs(place: Path) -> None:
    study = bred_study(rounds=2)
    write(study, ev.mlflow.Logger(place))
    before = {name: run.info.run_id for name, run in runs(place).items()}
    study.extend(4)
    study.run(train, workers=0, progress=False, loggers=[ev.mlflow.Logger(place)])
    assert {name: run.info.run_id for name, run in runs(place).items()} == before
    steps = [m.step for m in history(place, runs(place)["m3"], "at")]
    assert steps == [1000, 2000, 3000, 4000]


@contextmanager
def broken_after(n_batches: int) -> Iterator[None]:
    """Let MLflow's own client raise after so many batches, as when its server goes away."""
    send, left = MlflowClient.log_batch, [n_batches]

    def break_off(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise ConnectionError("the server is gone")
        return send(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", break_off)
        with pytest.raises(ConnectionError):
            yield


@pytest.mark.parametrize("n_batches", [1, 2, 5, 9])
def test_a_writer_that_breaks_off_anywhere_is_gone_on_with(
    study: ev.Study, logged: Path, place: Path, n_batches: int
) -> None:
    with broken_after(n_batches):
        write(study, ev.mlflow.Logger(place))
    write(study, ev.mlflow.Logger(place))
    assert everything(place) == everything(logged)


def test_a_round_of_many_points_that_is_broken_off_is_written_whole(place: Path) -> None:
    def talk(job: ev.Job) -> dict[str, float]:
        for step in range(996):
            job.log(step=step, noise=float(step))
        return train(job)

    study = new_study(rounds=1, population=1)
    study.run(talk, workers=0, progress=False)
    with broken_after(2):  # the settings, and as many metrics as MLflow takes at once
        write(study, ev.mlflow.Logger(place))
    assert len(runs(place)["m0"].data.metrics) == 3
    write(study, ev.mlflow.Logger(place))
    run = runs(place)["m0"]
    assert [m.value for m in history(place, run, "noise")] == list(range(996))
    for name in ("at", "hyperparameters/lr", "evolvent/round", "evolvent/weights_age"):
        assert len(history(place, run, name)) == 1


def test_a_parameter_is_never_logged_again_with_another_value(place: Path) -> None:
    """As when a setting is spelled differently by another version."""
    made = client(place).create_run(client(place).create_experiment("params"))
    for value in ("as it was", "as it is"):
        run = RunState.of(client(place).get_run(made.info.run_id))
        run.new_params = {"setting": value}
        run.send(client(place))
    assert client(place).get_run(made.info.run_id).data.params == {"setting": "as it was"}


KILLED = """
import os, signal, sys, warnings
from pathlib import Path
import evolvent as ev
from mlflow.tracking import MlflowClient
from tests.integrations.logged import new_study, train, url

directory, kill_after = Path(sys.argv[1]), int(sys.argv[2])
send, n_sent = MlflowClient.log_batch, 0

def killed(self, *arguments, **options):
    global n_sent
    n_sent += 1
    if n_sent > kill_after:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, *arguments, **options)

MlflowClient.log_batch = killed
study = new_study(url(directory))
study.run(train, workers=0, progress=False, loggers=[ev.mlflow.Logger(directory / "mlflow")])
"""


@pytest.mark.slow
def test_a_driver_killed_between_two_writes_is_gone_on_with(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(place.parent), "6"], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    study = ev.load_study("bred", store=url(place.parent))
    study.run(train, workers=0, progress=False, loggers=[ev.mlflow.Logger(place)])
    for member in range(MEMBERS):
        rounds = history(place, runs(place)[f"m{member}"], "evolvent/round")
        assert [m.value for m in rounds] == [1, 2, 3, 4, 5, 6]
        assert len(history(place, runs(place)[f"m{member}"], "loss")) >= ROUNDS * POINTS


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "options", "named"),
    [
        ("file:///tmp/mlruns", {}, "place: got 'file:///tmp/mlruns'"),
        (" ", {}, "directory: got ' '"),
        (".", {"experiment": ""}, "experiment: got ''"),
        (".", {"by": "family"}, "by: got 'family'"),
    ],
)
def test_bad_arguments_are_named(place: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ev.ConfigError) as error:
        ev.mlflow.Logger(place, **options)
    assert named in str(error.value)


def test_a_deleted_experiment_is_named(study: ev.Study, place: Path) -> None:
    made = client(place).create_experiment("gone")
    client(place).delete_experiment(made)
    with pytest.raises(ev.ConfigError, match="experiment: 'gone' has been deleted"):
        write(study, ev.mlflow.Logger(place, experiment="gone"))


def test_the_tracking_uri_of_the_environment_is_used(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    write(bred_study(rounds=1), ev.mlflow.Logger())
    assert "m3" in runs(place)


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_without_mlflow_the_extra_is_named() -> None:
    code = "import sys; sys.modules['mlflow'] = None; import evolvent; evolvent.mlflow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: ev.mlflow needs MLflow: pip install 'evolvent[mlflow]'" in done.stderr
