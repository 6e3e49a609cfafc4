"""Commands of any language as training code; most of them are a line of shell."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.engines.command.trainable import Command
from evolvent.engines.local.inline import run_one_job
from evolvent.engines.local.options import LocalOptions
from evolvent.store.records import Failure, FailureKind
from tests.engines.local.test_driver import new_study
from tests.engines.test_hostile import wait_until

CLIMB = """
at=0; [ -z "$2" ] || at=$(cat "$2/at")
awk -v at="$at" -v step="$1" 'BEGIN { printf "%.17g\\n", at + step }' > "$3/at"
echo "{\\"at\\": $(cat "$3/at")}"
"""


def braces(script: str) -> str:
    return script.replace("{", "{{").replace("}", "}}")


CLIMBING = ("sh", "-c", braces(CLIMB), "sh", "{step}", "{checkpoint}", "{directory}")


@pytest.fixture
def study(tmp_path: Path) -> ev.Study:
    return new_study(tmp_path, store="memory://")


def shell(study: ev.Study, script: str, **options: Any) -> Command:
    return Command(["sh", "-c", braces(script)], study.record, **options)


def one_job(study: ev.Study, command: Command, *, lease_s: float = 30.0) -> str:
    """Run one job, and return its id."""
    id = run_one_job(study.store, study.id, command, device=None, lease_s=lease_s, show_line=print)
    assert id is not None
    return id


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_command_trains_a_study_from_checkpoint_to_checkpoint(study: ev.Study) -> None:
    study.run(Command(CLIMBING, study.record), workers=0, progress=False)
    jobs = {job.id: job for job in study.jobs("done")}
    assert len(jobs) == 12
    for job in jobs.values():
        before = jobs[job.parent].metrics["at"] if job.parent else 0.0
        assert job.metrics["at"] == before + job.hyperparameters["step"]


@pytest.mark.slow
def test_synchronous_study_is_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    logs = []
    for workers in (0, 2):
        study = new_study(tmp_path, name=f"w{workers}", synchronous=True)
        study.run(Command(CLIMBING, study.record), workers=workers, progress=False)
        logs.append({(job.id, job.parent, job.score, job.checkpoint) for job in study.jobs()})
    assert logs[0] == logs[1]


def test_job_is_told_by_the_environment_and_by_a_file(study: ev.Study, tmp_path: Path) -> None:
    script = f"""
    cp "$EVOLVENT_JOB_FILE" {tmp_path}/job.json
    env | grep ^EVOLVENT_ | sort > {tmp_path}/env
    echo '{{"at": 1}}'
    """
    one_job(study, shell(study, script))
    told = json.loads((tmp_path / "job.json").read_text())
    assert told["hyperparameters"] == study.job("m0r0").hyperparameters
    assert (told["job"], told["member"], told["round"], told["attempt"]) == ("m0r0", 0, 0, 1)
    assert told["checkpoint"] is None
    variables = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert variables["EVOLVENT_CHECKPOINT"] == variables["EVOLVENT_DEVICE"] == ""
    assert variables["EVOLVENT_SEED"] == str(told["seed"])
    assert not Path(variables["EVOLVENT_JOB_FILE"]).exists()


@pytest.mark.parametrize(
    ("script", "at"),
    [
        ("""echo '{"at": 1}'; echo '{"at": 2}'""", 2.0),
        ("""echo '{"at": 1}'; echo done; echo '{not json}'""", 1.0),
        ("""printf '50%%\\r{"at": 4}'""", 4.0),
        ("""echo '{"at": 1}'; echo '{"at": 3}' > "$EVOLVENT_DIRECTORY/metrics.json" """, 3.0),
    ],
)
def test_metrics_are_the_last_json_object_or_those_of_the_file(
    study: ev.Study, script: str, at: float
) -> None:
    id = one_job(study, shell(study, script))
    assert study.job(id).metrics == {"at": at}


def test_metrics_file_is_not_part_of_the_checkpoint(study: ev.Study) -> None:
    script = 'cd "$EVOLVENT_DIRECTORY"; echo w > weights; echo \'{"at": 3}\' > metrics.json'
    id = one_job(study, shell(study, script))
    assert os.listdir(study.checkpoint(id)) == ["weights"]


@pytest.mark.parametrize("value", ["NaN", "nan", "-nan", "inf", "-Infinity", "null", '"NaN"'])
def test_metric_that_is_not_finite_fails_the_member(study: ev.Study, value: str) -> None:
    one_job(study, shell(study, f"""echo '{{"at": {value}}}'"""))
    assert study.job("m0r0").state == "failed"
    assert study.failures()[0].failure.kind is FailureKind.INVALID


def test_other_metrics_may_be_infinite(study: ev.Study) -> None:
    one_job(study, shell(study, """echo '{"at": 1, "worst": -inf}'"""))
    assert study.job("m0r0").metrics["worst"] == -math.inf


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("true", "no metrics in the output"),
        ("echo '[1]'", "no metrics in the output"),
        ('echo oops > "$EVOLVENT_DIRECTORY/metrics.json"', "no metrics in the metrics.json"),
        ("""echo '{"loss": 1}'""", "'loss'.*'at'"),
        ("""echo '{"at": "high"}'""", "must be a number"),
    ],
)
def test_command_without_usable_metrics_ends_the_worker_and_fails_nobody(
    study: ev.Study, script: str, told: str
) -> None:
    with pytest.raises(ev.TrainableError, match=told):
        study.run(shell(study, script), workers=0, progress=False)
    assert {job.state for job in study.jobs()} == {"queued"}
    assert study.failures()[0].failure.kind is FailureKind.RETURNED


def test_failure_tells_the_exit_code_and_the_end_of_what_was_said(study: ev.Study) -> None:
    script = "echo out; seq 100 >&2; echo 'no luck' >&2; exit 3"
    one_job(study, shell(study, script, ignore_errors=True))
    failure = study.failures()[0].failure
    assert failure.kind is FailureKind.RAISED
    assert failure.message == "the command ended with exit code 3: no luck"
    lines = (failure.traceback or "").splitlines()
    assert lines[0] == "the command ended with exit code 3. The end of its output:"
    assert lines[-2:] == ["100", "no luck"]
    assert len(lines) == 41
    assert study.job("m0r0").state == "queued"


@pytest.mark.parametrize(
    ("name", "kind"), [("KILL", FailureKind.LOST), ("SEGV", FailureKind.RAISED)]
)
def test_crash_counts_against_the_member_and_a_kill_does_not(
    study: ev.Study, name: str, kind: FailureKind
) -> None:
    one_job(study, shell(study, f"kill -{name} $$", ignore_errors=True))
    failure = study.failures()[0].failure
    assert failure.kind is kind
    assert f"killed by SIG{name}" in failure.message


def test_broken_command_ends_the_worker_before_a_member_is_lost(tmp_path: Path) -> None:
    study = new_study(tmp_path, max_failures=2)
    command = shell(study, "echo broken >&2; exit 1")
    with pytest.raises(
        ev.TrainableError, match=r"3 times in a row(.|\n)*broken(.|\n)*--ignore-err"
    ):
        study.run(command, workers=1, progress=False)
    assert {job.state for job in study.jobs()} == {"queued"}
    kinds = [failed.failure.kind for failed in study.failures()]
    assert kinds == [FailureKind.RAISED, FailureKind.RAISED, FailureKind.RETURNED]


def test_failures_with_success_in_between_end_nothing(tmp_path: Path) -> None:
    study = new_study(tmp_path, store="memory://", max_failures=1)
    script = f'[ "$EVOLVENT_ATTEMPT" = 2 ] || exit 1; {CLIMB}'
    words = ["sh", "-c", braces(script), *CLIMBING[3:]]
    study.run(Command(words, study.record), workers=0, progress=False)
    assert len(study.jobs("done")) == 12
    assert len(study.failures()) == 12


def test_with_errors_ignored_members_fail_and_come_back_as_copies(tmp_path: Path) -> None:
    study = new_study(tmp_path, store="memory://", max_failures=0)
    script = f'[ "$EVOLVENT_JOB" != m0r0 ] || exit 1; {CLIMB}'
    words = ["sh", "-c", braces(script), *CLIMBING[3:]]
    study.run(Command(words, study.record, ignore_errors=True), workers=0, progress=False)
    assert study.job("m0r0").state == "failed"
    assert study.job("m0r1").parent != "m0r0"
    assert len(study.jobs("done")) == 11


def test_program_that_is_not_there_is_refused(study: ev.Study, tmp_path: Path) -> None:
    with pytest.raises(ev.ConfigError, match="no program 'no-such-program'"):
        Command(["no-such-program"], study.record)
    with pytest.raises(ev.ConfigError, match="sh -c"):
        Command(["echo 1 | cat"], study.record)
    (tmp_path / "script").write_text("echo")
    with pytest.raises(ev.ConfigError, match=r"chmod \+x"):
        Command([str(tmp_path / "script")], study.record)


def test_program_that_cannot_be_started_ends_the_worker(study: ev.Study, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no first line that says what it is for")
    script.chmod(0o755)
    with pytest.raises(ev.TrainableError, match="cannot be started: Exec format error"):
        one_job(study, Command([str(script)], study.record))
    assert study.job("m0r0").state == "queued"


def test_what_the_command_prints_is_passed_on(
    study: ev.Study, capfd: pytest.CaptureFixture[str]
) -> None:
    one_job(study, shell(study, """echo to out; echo to err >&2; printf '{"at": 1}'"""))
    out, err = capfd.readouterr()
    assert out == 'to out\n{"at": 1}\n'
    assert "to err\n" in err


def test_flood_of_output_is_survived(study: ev.Study) -> None:
    script = "head -c 20000000 /dev/zero; seq 100000; echo '{\"at\": 1}'"
    id = one_job(study, shell(study, script))
    assert study.job(id).metrics == {"at": 1}


def test_standard_input_is_empty(study: ev.Study) -> None:
    id = one_job(study, shell(study, """echo "{\\"at\\": $(wc -c)}" """))
    assert study.job(id).metrics == {"at": 0}


def test_command_that_saves_nothing_is_warned_of_once(
    study: ev.Study, caplog: pytest.LogCaptureFixture
) -> None:
    study.run(shell(study, """echo '{"at": 1}'"""), workers=0, progress=False)
    assert caplog.text.count("saved nothing") == 1


def test_silent_command_is_killed_with_all_that_it_started(study: ev.Study, tmp_path: Path) -> None:
    script = f"echo start; sleep 600 & echo $! > {tmp_path}/pid; wait"
    one_job(study, shell(study, script, hang_s=0.3, ignore_errors=True))
    failure = study.failures()[0].failure
    assert failure.kind is FailureKind.RAISED
    assert failure.message == "the command printed nothing for 0.3 s and was killed: start"
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_command_that_keeps_printing_does_not_hang(study: ev.Study) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; echo '{\"at\": 1}'"
    id = one_job(study, shell(study, script, hang_s=0.6))
    assert study.job(id).state == "done"


def test_what_a_command_leaves_running_ends_with_it(study: ev.Study, tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; echo '{{\"at\": 1}}'"
    one_job(study, shell(study, script))
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_command_is_killed_when_its_lease_is_lost(study: ev.Study, tmp_path: Path) -> None:
    """The job goes to another; this worker goes on with the next, and reports that."""
    first = tmp_path / "first"
    script = f"""
    if [ ! -e {first} ]; then echo $$ > {first}.new; mv {first}.new {first}; sleep 600; fi
    echo '{{"at": 1}}'
    """
    command = shell(study, script)
    store, take_away = study.store, _TakeAway(study, first)
    with take_away:
        id = run_one_job(store, study.id, command, device=None, lease_s=0.3, show_line=print)
    assert id == JobId(1, 0)
    assert study.job("m0r0").worker == "another"
    wait_until(lambda: not is_alive(int(first.read_text())))


class _TakeAway:
    """Gives m0r0 to another worker as soon as its command runs."""

    def __init__(self, study: ev.Study, started: Path) -> None:
        self._study, self._started = study, started
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        wait_until(self._started.exists)
        worker = self._study.job("m0r0").worker
        assert worker is not None
        lost = Failure(FailureKind.LOST, "taken away")
        self._study.store.release(self._study.id, worker=worker, failure=lost)
        assert self._study.store.claim(self._study.id, worker="another", lease_s=60.0)


DRIVER = """
import sys
import evolvent as ev
from evolvent.engines.command.trainable import Command
from evolvent.engines.local.options import LocalOptions
study = ev.load_study("s", store=sys.argv[1])
command = Command(["sh", "-c", sys.argv[2]], study.record)
options = LocalOptions(workers=int(sys.argv[3]), hang_s=None)
study.join(command, options=options, progress=False)
"""


def driver(study: ev.Study, script: str, *, workers: int) -> subprocess.Popen[str]:
    arguments = [study.store.url, braces(script), str(workers)]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_command_dies_with_its_worker(tmp_path: Path, workers: int, number: signal.Signals) -> None:
    """By kill -9 of the driver, and by Ctrl-C twice."""
    study = new_study(tmp_path)
    pids = tmp_path / "pids"
    script = (
        f"sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait; echo '{{\"at\": 1}}'"
    )
    process = driver(study, script, workers=workers)
    wait_until(pids.exists)
    pid, child = map(int, pids.read_text().split())
    process.send_signal(number)
    if number == signal.SIGINT:
        assert is_alive(pid)
        wait_until(lambda: process.poll() is not None or _again(process))
    process.communicate(timeout=30)
    wait_until(lambda: not is_alive(pid) and not is_alive(child))


def _again(process: subprocess.Popen[str]) -> bool:
    process.send_signal(signal.SIGINT)
    return False


def test_ctrl_c_lets_the_command_finish(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    started, go = tmp_path / "started", tmp_path / "go"
    script = f"touch {started}; until [ -e {go} ]; do sleep 0.05; done; echo '{{\"at\": 1}}'"
    process = driver(study, script, workers=1)
    wait_until(started.exists)
    process.send_signal(signal.SIGINT)
    go.touch()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert 1 <= len(study.jobs("done")) < 12
    assert not study.jobs("running")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("trap", ["", "trap 'exit 143' TERM; "])
def test_a_signal_to_every_process_hands_the_jobs_of_commands_back(
    tmp_path: Path, workers: int, trap: str
) -> None:
    study = new_study(tmp_path, max_failures=0)
    script = f"{trap}echo >> {tmp_path}/started; while :; do sleep 0.05; done"
    process = driver(study, script, workers=workers)
    started, n = tmp_path / "started", max(1, workers)
    wait_until(lambda: started.exists() and len(started.read_text()) >= n)
    # The newest first: a command has ended before its worker knows that it should, too.
    for one in reversed(psutil.Process(process.pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert [failed.failure.kind for failed in study.failures()] == ["lost"] * n
    assert {str(job.state) for job in study.jobs()} == {"queued"}
    assert len(started.read_text()) == n, "none is started again"


def test_device_is_dealt_out(tmp_path: Path) -> None:
    study = new_study(tmp_path, population=2, rounds=1)
    script = 'echo "$1" > "$2/device"; echo "{\\"at\\": 1}"'
    words = ["sh", "-c", braces(script), "sh", "{device}", "{directory}"]
    options = LocalOptions(workers=1, devices=("cuda:1",), hang_s=None)
    study.join(Command(words, study.record), options=options, progress=False)
    assert (study.checkpoint("m1r0") / "device").read_text() == "cuda:1\n"


def test_one_job_of_a_study_that_is_over_is_none(study: ev.Study) -> None:
    command = shell(study, """echo '{"at": 1}'""")
    study.run(command, workers=0, progress=False)
    assert (
        run_one_job(study.store, study.id, command, device=None, lease_s=9, show_line=print) is None
    )
