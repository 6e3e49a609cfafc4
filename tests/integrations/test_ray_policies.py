"""Policy logs of Ray: read as Ray reads them, written so that Ray follows them.

`ray_files` holds what the installed Ray wrote, by `ray_pbt.py breed`: the logs, the results cut
down to a few fields, and in `ray.json` what Ray's own replay parsed from each log.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.errors import ConfigError
from tests.needs import needs

FILES = Path(__file__).parent / "ray_files"
LOGS = sorted(FILES.glob("*/pbt_policy_*.txt"))
SYNC = FILES / "sync"


def as_ray_says(said: Any, *, total: int = 12) -> list[tuple[int, int, Any]]:
    """Return start, end and config of the stretches that Ray's replay parsed."""
    starts = [0, *(step for step, _ in said["changes"])]
    configs = [said["first"], *(config for _, config in said["changes"])]
    return list(zip(starts, [*starts[1:], total], configs, strict=True))


def read(schedule: Schedule) -> list[tuple[int, int, Any]]:
    return [(s.start, s.end, s.hyperparameters) for s in schedule.segments]


def parsed_by_ray(log: Path) -> Any:
    return json.loads((log.parent / "ray.json").read_text())["parsed"][log.name]


def policy(directory: Path, *lines: Any, name: str = "pbt_policy_x_00000.txt") -> Path:
    text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
    (directory / name).write_text(text)
    return directory / name


def line(trial: str, donor: str, step: int, old: float, new: float) -> list[Any]:
    return [trial, donor, step, step, {"lr": old}, {"lr": new}]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.parent.name}-{log.stem[-5:]}")
def test_the_log_of_a_trial_is_read_as_rays_replay_reads_it(log: Path):
    assert read(Schedule.from_ray(log)) == as_ray_says(parsed_by_ray(log))


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.parent.name}-{log.stem[-5:]}")
def test_the_global_log_tells_the_lineage_of_each_trial(log: Path):
    number = str(int(log.stem[-5:]))
    assert Schedule.from_ray(log.parent / "pbt_global.txt", trial=number) == Schedule.from_ray(log)


def test_the_values_are_those_that_the_weights_saw():
    truth = json.loads((SYNC / "ray.json").read_text())["trained"]["ce9a2_00001"]
    schedule = Schedule.from_ray(SYNC / "pbt_policy_ce9a2_00001.txt")
    configs = list(dict.fromkeys(json.dumps(config) for config in truth))
    assert [json.dumps(s.hyperparameters) for s in schedule.segments] == configs
    # Ray notes the donor's last result: of the trial that reported last, the one before.
    assert [s.start for s in schedule.segments] == [0, 1, 6, 10]
    assert [truth.index(json.loads(config)) for config in configs] == [0, 2, 6, 10]


def test_members_are_the_numbers_of_the_trials():
    schedule = Schedule.from_ray(SYNC / "pbt_policy_ce9a2_00001.txt")
    assert [s.member for s in schedule.segments] == [3, 1, 0, 1]


def test_a_trial_that_copied_nobody_kept_its_config():
    schedule = Schedule.from_ray(FILES / "async" / "pbt_global.txt", trial="3_lr=0.1000")
    assert (schedule.total, schedule.only("lr").at(0)) == (12, {"lr": 0.1})
    assert len(schedule.segments) == 1


def test_a_global_log_wants_a_trial_and_says_which_there_are():
    with pytest.raises(ConfigError, match=r"--trial \(trial=\): '0_lr=0\.9000', '1_lr=0\.0100'"):
        Schedule.from_ray(SYNC / "pbt_global.txt")
    with pytest.raises(ConfigError, match="no trial '7', there are '0_lr"):
        Schedule.from_ray(SYNC / "pbt_global.txt", trial="7")


def test_without_results_the_length_must_be_given(tmp_path: Path):
    log = shutil.copy(SYNC / "pbt_policy_ce9a2_00001.txt", tmp_path)
    with pytest.raises(
        ConfigError, match=r"trial '1_lr=0\.0100' was trained.*: say how long with total="
    ):
        Schedule.from_ray(log)
    assert Schedule.from_ray(log, total=20).total == 20


def test_what_comes_after_the_end_was_never_trained():
    schedule = Schedule.from_ray(SYNC / "pbt_policy_ce9a2_00001.txt", total=8)
    assert [(s.start, s.end) for s in schedule.segments] == [(0, 1), (1, 6), (6, 8)]


def test_results_that_were_cut_off_as_they_were_written_are_read_to_the_last_whole_line(
    tmp_path: Path,
):
    log = policy(tmp_path, line("1", "0", 2, 0.1, 0.2))
    (tmp_path / "trial").mkdir()
    results = '{"trial_id": "x_00000", "training_iteration": 5, "loss": NaN}\n{"trial_id": "x_0'
    (tmp_path / "trial" / "result.json").write_text(results)
    assert Schedule.from_ray(log).total == 5


def test_copies_that_were_overwritten_do_not_count(tmp_path: Path):
    log = policy(tmp_path, line("1", "0", 2, 0.1, 0.2), line("1", "3", 4, 0.5, 0.6))
    schedule = Schedule.from_ray(log, total=6)
    assert read(schedule) == [(0, 4, {"lr": 0.5}), (4, 6, {"lr": 0.6})]


def test_a_copy_from_before_an_earlier_change_undoes_it(tmp_path: Path):
    lines = [line("1", "0", 4, 0.1, 0.2), line("2", "1", 4, 0.2, 0.3), line("3", "2", 6, 0.3, 0.4)]
    schedule = Schedule.from_ray(policy(tmp_path, *lines), total=8)
    assert read(schedule) == [(0, 4, {"lr": 0.1}), (4, 6, {"lr": 0.3}), (6, 8, {"lr": 0.4})]
    at_once = Schedule.from_ray(policy(tmp_path, line("1", "0", 0, 0.1, 0.2)), total=2)
    assert read(at_once) == [(0, 2, {"lr": 0.2})]


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("{", "line 2: no JSON"),
        ("[]", r"line 2: got \[\], wanted a list of trial, donor"),
        ([3, "0", 2, 2, {}, {}], "line 2: trial: got 3"),
        (["1", None, 2, 2, {}, {}], "line 2: donor: got None"),
        (["1", "0", 2, -1, {}, {}], "line 2: iteration of the donor: got -1"),
        (["1", "0", 2, 2.5, {}, {}], r"line 2: iteration of the donor: got 2\.5"),
        (["1", "0", 2, 2, [], {}], r"line 2: old config: got \[\]"),
        (["1", "0", 2, 2, {}, 4], "line 2: new config: got 4"),
        ('["1", "0", 2, 2, {"lr": NaN}, {}]', "line 2: got NaN"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, broken: Any, complaint: str):
    log = policy(tmp_path, line("1", "0", 2, 0.1, 0.2), broken)
    with pytest.raises(ConfigError, match=complaint):
        Schedule.from_ray(log, total=5)


def test_an_empty_log_and_a_length_that_is_none_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="empty file"):
        Schedule.from_ray(policy(tmp_path), total=5)
    with pytest.raises(ConfigError, match="total: got 0"):
        Schedule.from_ray(SYNC / "pbt_policy_ce9a2_00001.txt", total=0)


PIECES = [
    (2, {"lr": 0.5, "batch": 16, "optimizer": {"name": "sgd"}}),
    (3, {"lr": 0.25, "batch": 8, "optimizer": {"name": "adam"}}),
    (1, {"lr": 1 / 3, "batch": 8, "optimizer": {"name": None}}),
]


OURS, CONSTANT = Schedule.piecewise(PIECES), Schedule.piecewise(PIECES[:1])


@pytest.mark.parametrize("pieces", [PIECES, PIECES[:1]], ids=["three", "constant"])
def test_what_is_written_is_read_again_with_its_length(tmp_path: Path, pieces: Any):
    schedule = Schedule.piecewise(pieces)
    schedule.to_ray(tmp_path / "pbt_policy_mine.txt")
    assert Schedule.from_ray(tmp_path / "pbt_policy_mine.txt") == schedule


def test_members_survive_the_way_to_ray_and_back(tmp_path: Path):
    schedule = Schedule.from_ray(SYNC / "pbt_policy_ce9a2_00002.txt")
    schedule.to_ray(tmp_path / "mine.txt")
    again = Schedule.from_ray(tmp_path / "mine.txt")
    assert [s.member for s in again.segments] == [s.member for s in schedule.segments]
    assert read(again) == read(schedule)


# with the installed Ray


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def ray(home: Path) -> Any:
    """What the installed Ray does, of one start: it breeds, and replays two schedules of ours."""
    needs("ray")
    program = [sys.executable, str(Path(__file__).with_name("ray_pbt.py"))]
    policies: list[str] = []
    for name, schedule in (("mine", OURS), ("constant", CONSTANT)):
        schedule.to_ray(home / f"pbt_policy_{name}.txt")
        policies += [str(home / f"pbt_policy_{name}.txt"), str(schedule.total)]
    ran = subprocess.run(
        [*program, "both", str(home), *policies],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.slow
def test_logs_of_the_installed_ray_are_read_as_its_replay_reads_them(ray: Any, home: Path):
    assert len(ray["parsed"]) >= 2, "with half of them copying at each turn, several trials have"
    for name, parsed in ray["parsed"].items():
        log = home / "breed" / name
        number = str(int(log.stem[-5:]))
        schedule = Schedule.from_ray(log)
        assert read(schedule) == as_ray_says(parsed)
        assert Schedule.from_ray(home / "breed" / "pbt_global.txt", trial=number) == schedule


@pytest.mark.slow
def test_the_installed_ray_trains_under_a_schedule_of_ours(ray: Any):
    replayed, _ = ray["replays"]
    assert as_ray_says(replayed, total=7)[:-1] == read(OURS)  # the last change is the end mark
    assert replayed["trained"] == [OURS.at(t) for t in range(OURS.total)]


@pytest.mark.slow
def test_the_installed_ray_trains_under_a_constant_schedule_of_ours(ray: Any):
    _, replayed = ray["replays"]
    assert replayed["trained"] == [CONSTANT.at(0)] * 2
