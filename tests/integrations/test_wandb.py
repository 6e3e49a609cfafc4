"""Weights & Biases, offline: what its own process has written is read back from its files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
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
    own,
    train,
    url,
    write,
)
from tests.needs import needs

needs("wandb")

from wandb.proto import wandb_internal_pb2 as messages  # noqa: E402 - after needs

from evolvent.integrations import wandb as integration  # noqa: E402
from evolvent.integrations import wandb_file  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever account this machine has, no test uses it."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/dev/null")


@pytest.fixture(scope="module")
def study() -> ev.Study:
    return bred_study()


@pytest.fixture(scope="module")
def logged(study: ev.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wandb")
    write(study, ev.wandb.Logger(directory, mode="offline"))
    return directory


def files(directory: Path) -> dict[str, list[Path]]:
    """Return the parts of every run, the oldest first, by the name of the run."""
    found: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("wandb/offline-run-*/*.wandb")):
        found.setdefault(path.stem.rpartition("-")[2], []).append(path)
    return found


def rows(directory: Path, run: str) -> list[Row]:
    """Return what a run has logged, over all its parts."""
    return [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
        for path in files(directory)[run]
        for row in wandb_file.rows(path)
    ]


def of_type(path: Path, kind: str) -> list[Any]:
    records = map(messages.Record.FromString, wandb_file._records(path.read_bytes()))
    return [getattr(record, kind) for record in records if record.HasField(kind)]


def config(directory: Path, run: str) -> dict[str, Any]:
    path = files(directory)[run][-1]
    updates = [of_type(path, "run")[0].config, *of_type(path, "config")]
    return {item.key: json.loads(item.value_json) for update in updates for item in update.update}


def column(directory: Path, run: str, name: str) -> list[Any]:
    return [row[name] for row in rows(directory, run) if name in row]


N_ROWS = ROUNDS * (POINTS + 1)
"""How many rows a member has: what a round logged before it failed is there, too."""


def without_clock(directory: Path, run: str) -> list[Row]:
    return [{k: v for k, v in row.items() if k != "_runtime"} for row in rows(directory, run)]


def test_every_member_has_one_run_in_the_group_of_the_study(logged: Path) -> None:
    assert {name: len(parts) for name, parts in files(logged).items()} == {
        "m0": 1, "m1": 1, "m2": 1, "m3": 1,
    }  # fmt: skip
    run = of_type(files(logged)["m2"][0], "run")[0]
    assert (run.project, run.run_group, run.display_name) == ("evolvent", "bred", "m2")


@pytest.mark.parametrize("member", range(MEMBERS))
def test_rows_hold_metrics_and_hyperparameters_by_rounds(
    study: ev.Study, logged: Path, member: int
) -> None:
    ends = [row for row in rows(logged, f"m{member}") if "evolvent/round" in row]
    assert [row["evolvent/position"] for row in ends] == [1, 2, 3, 4, 5, 6]
    assert [row.get("at") for row in ends] == own(study, member, lambda job: job.metrics.get("at"))
    assert [row["hyperparameters/lr"] for row in ends] == own(
        study, member, lambda job: job.hyperparameters["lr"]
    )


def test_points_stand_within_their_round(logged: Path) -> None:
    assert column(logged, "m0", "evolvent/position")[: 2 * (POINTS + 1)] == [
        0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2,
    ]  # fmt: skip


def test_steps_and_positions_never_go_back(logged: Path) -> None:
    for member in range(MEMBERS):
        for axis in ("_step", "evolvent/position", "_timestamp"):
            found = column(logged, f"m{member}", axis)
            assert found == sorted(found), (member, axis)
            assert len(found) == N_ROWS


def test_the_axis_of_every_chart_is_the_position(logged: Path) -> None:
    metrics = of_type(files(logged)["m0"][0], "metric")
    assert [(m.name or m.glob_name, m.step_metric) for m in metrics] == [
        ("evolvent/position", ""), ("*", "evolvent/position"),
    ]  # fmt: skip


def test_copies_are_marked_and_nothing_else_is(study: ev.Study, logged: Path) -> None:
    marked = {
        f"m{member}r{row['evolvent/round'] - 1}": row["evolvent/copied_from"]
        for member in range(MEMBERS)
        for row in rows(logged, f"m{member}")
        if "evolvent/copied_from" in row
    }
    assert marked == copies(study)


def test_the_config_has_the_first_hyperparameters_and_those_in_force(
    study: ev.Study, logged: Path
) -> None:
    told = config(logged, "m2")
    last = study.job(f"m2r{ROUNDS - 1}").hyperparameters
    assert told["initial"]["lr"] == study.job("m2r0").hyperparameters["lr"]
    assert told["hyperparameters"] == {
        "lr": last["lr"], "net.activation": last["net"]["activation"],
        "net.width": last["net"]["width"], "batch": 32,
    }  # fmt: skip
    assert told["copied_from"] == "m1r3"
    assert told["change"].startswith("**m2r4** copied **m1r3**: ")
    assert told["study"]["population"] == "4"


def test_a_failed_round_has_no_metric_and_a_mark(logged: Path) -> None:
    (row,) = [row for row in rows(logged, "m2") if row.get("evolvent/failed")]
    assert row["evolvent/position"] == 4
    assert "at" not in row


def test_by_lineage_a_copy_starts_a_run_where_its_donor_stood(
    study: ev.Study, tmp_path: Path
) -> None:
    write(study, ev.wandb.Logger(tmp_path, mode="offline", by="lineage", steps_per_round=40))
    assert set(files(tmp_path)) == {"m0r0", "m1r0", "m2r0", "m3r0", *copies(study)}
    ends = [row for row in rows(tmp_path, "m2r2") if "evolvent/round" in row]
    assert [row["evolvent/weights_age"] for row in ends] == [3, 4]
    assert [row["evolvent/position"] for row in ends] == [120, 160]


# --- going on ----------------------------------------------------------------------------------


def test_writing_again_changes_nothing(study: ev.Study, logged: Path) -> None:
    before = {run: [p.read_bytes() for p in parts] for run, parts in files(logged).items()}
    write(study, ev.wandb.Logger(logged, mode="offline"))
    after = {run: [p.read_bytes() for p in parts] for run, parts in files(logged).items()}
    assert after == before


def test_a_study_that_goes_on_continues_its_runs(tmp_path: Path) -> None:
    study = bred_study(rounds=2)
    write(study, ev.wandb.Logger(tmp_path / "parts", mode="offline"))
    assert all(wandb_file.is_whole(p) for (p,) in files(tmp_path / "parts").values())
    study.extend(4)
    logger = ev.wandb.Logger(tmp_path / "parts", mode="offline")
    study.run(train, workers=0, progress=False, loggers=[logger])
    write(study, ev.wandb.Logger(tmp_path / "whole", mode="offline"))
    for run, parts in files(tmp_path / "parts").items():
        assert len({path.stem for path in parts}) == 1, "all parts are of the same run"
        assert len(parts) == 2
        assert without_clock(tmp_path / "parts", run) == without_clock(tmp_path / "whole", run)


def test_a_file_cut_anywhere_is_gone_on_with(study: ev.Study, logged: Path, tmp_path: Path) -> None:
    """A writer that is killed leaves a beginning of what it was to write."""
    wanted = {run: without_clock(logged, run) for run in files(logged)}
    for n_bytes in (0, 3, 1500, 4000, 6000):
        directory = tmp_path / str(n_bytes)
        shutil.copytree(logged, directory)
        for (path,) in files(directory).values():
            path.write_bytes(path.read_bytes()[:n_bytes])
        write(study, ev.wandb.Logger(directory, mode="offline"))
        assert {run: without_clock(directory, run) for run in files(directory)} == wanted


KILLED = """
import os, signal, sys
from pathlib import Path
import evolvent as ev
from tests.integrations.logged import new_study, train, url

directory = Path(sys.argv[1])

class Killed(ev.wandb.Logger):
    def write(self, entries):
        super().write(entries[:9])
        os.kill(os.getpid(), signal.SIGKILL)

study = new_study(url(directory))
study.run(train, workers=0, progress=False, loggers=[Killed(directory, mode="offline")])
"""


@pytest.mark.slow
def test_a_killed_driver_is_gone_on_with(tmp_path: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=alone, check=False)
    assert done.returncode == -signal.SIGKILL
    study = ev.load_study("bred", store=url(tmp_path))
    logger = ev.wandb.Logger(tmp_path, mode="offline")
    study.run(train, workers=0, progress=False, loggers=[logger])
    for member in range(MEMBERS):
        steps = column(tmp_path, f"m{member}", "_step")
        assert len(steps) == len(set(steps)) == N_ROWS


# --- resources, and what the user's own process sees -------------------------------------------


def test_few_runs_at_once_are_enough(
    study: ev.Study, logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integration, "_MAX_OPEN", 2)
    write(study, ev.wandb.Logger(tmp_path, mode="offline"))
    for run in files(logged):
        assert without_clock(tmp_path, run) == without_clock(logged, run)


@pytest.mark.slow
def test_many_runs_need_no_threads_of_their_own(tmp_path: Path) -> None:
    study = bred_study(rounds=1, population=24)
    logger = ev.wandb.Logger(tmp_path, mode="offline")
    before = threading.active_count()
    try:
        logger.open(study.status())
        write_through(study, logger)
        assert threading.active_count() <= before + 4
    finally:
        logger.close(study.status())
    assert len(files(tmp_path)) == 24


def write_through(study: ev.Study, logger: ev.wandb.Logger) -> None:
    from evolvent.engines.loggers.follower import LogReader  # noqa: PLC0415

    logger.write(LogReader(study.store, study.id).read())


def test_the_user_sees_nothing_and_keeps_the_run_of_his_own(
    study: ev.Study, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(study, ev.wandb.Logger(tmp_path, mode="offline"))
    assert capfd.readouterr() == ("", "")
    assert integration.wandb.run is None


# --- settings ----------------------------------------------------------------------------------


def test_without_a_key_it_is_offline_and_never_asks() -> None:
    assert "offline" in ev.wandb.Logger().place
    with pytest.raises(ev.ConfigError, match="no API key: run `wandb login`"):
        ev.wandb.Logger(mode="online")


def test_with_a_key_it_is_online_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert "online" in ev.wandb.Logger().place
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "offline" in ev.wandb.Logger().place
    assert "online" in ev.wandb.Logger(mode="online").place


def test_a_key_that_was_saved_by_logging_in_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine wandb.example login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert "offline" in ev.wandb.Logger().place
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert "online" in ev.wandb.Logger().place


def test_disabled_writes_no_run(study: ev.Study, tmp_path: Path) -> None:
    write(study, ev.wandb.Logger(tmp_path, mode="disabled"))
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mode": "dryrun"}, "mode: got 'dryrun'"),
        ({"project": ""}, "project: got ''"),
        ({"directory": "s3://here"}, "directory: got 's3://here'"),
        ({"steps_per_round": 0}, "steps_per_round: got 0"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ev.ConfigError) as error:
        ev.wandb.Logger(**options)
    assert named in str(error.value)


def test_without_wandb_the_extra_is_named() -> None:
    code = "import sys; sys.modules['wandb'] = None; import evolvent; evolvent.wandb"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: ev.wandb needs Weights & Biases: pip install 'evolvent[wandb]'" in (
        done.stderr
    )
