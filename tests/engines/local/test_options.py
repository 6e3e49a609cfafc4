"""What a run on this machine is asked for: its environment, its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.engines.local.options import LocalOptions, local_options
from evolvent.errors import ConfigError
from tests.engines.local.test_driver import Watcher, new_study
from tests.settings import study_record


def options(**given: Any) -> LocalOptions:
    return local_options(study_record(), **given)


@pytest.mark.parametrize(
    ("granted", "seen"),
    [("", ["0", "1"]), ("4,5", ["4", "5"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"])],
)
def test_an_isolated_worker_sees_its_own_device_as_the_first(
    granted: str, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", granted)
    isolated = options(devices=["cuda:0", "cuda:1"], isolate_devices=True)
    assert [isolated.variables(slot)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == seen
    assert [isolated.device(slot) for slot in (0, 1)] == ["cuda:0", "cuda:0"]
    shared = options(devices=["cuda:0", "cuda:1"])
    assert "CUDA_VISIBLE_DEVICES" not in shared.variables(1)
    assert shared.device(1) == "cuda:1"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"isolate_devices": True}, "wanted devices"),
        ({"isolate_devices": True, "devices": ["tpu:0"]}, "'tpu:0', wanted one such as cuda:0"),
        ({"isolate_devices": 1, "devices": ["cuda:0"]}, "isolate_devices: got 1"),
        ({"log_dir": "logs", "workers": 0}, "log_dir: got it with workers=0"),
        ({"log_dir": "/proc/none"}, "log_dir: got '/proc/none', wanted a directory"),
        ({"keep_alive": -1}, "keep_alive: got -1"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        options(**given)


def test_a_device_beyond_those_granted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with pytest.raises(ConfigError, match="cuda:0 to cuda:1"):
        options(devices=["cuda:2"], isolate_devices=True)


def prints_a_bar(job: ev.Job) -> dict[str, float]:
    print(f"10 %\r20 %\rdone {job.id}", flush=True)  # noqa: T201
    return {"at": 1.0}


def test_a_bar_of_a_worker_keeps_its_prefix(tmp_path: Path) -> None:
    watcher = Watcher()
    new_study(tmp_path, rounds=1).run(prints_a_bar, workers=1, progress=watcher)
    assert "worker 0 | done m0r0" in watcher.lines


def test_without_a_display_what_workers_print_is_all_that_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_study(tmp_path, rounds=1).run(prints_a_bar, workers=1, progress=False)
    lines = capsys.readouterr().out.splitlines()
    warnings = [line for line in lines if "done m" not in line]
    assert sorted(set(lines) - set(warnings)) == [f"worker 0 | done m{i}r0" for i in range(4)]
    assert all(line.startswith("worker 0 | ") for line in warnings), "evolvent's own are seen, too"


def test_what_a_worker_prints_goes_into_its_file(tmp_path: Path) -> None:
    watcher = Watcher()
    study = new_study(tmp_path, rounds=1)
    study.run(prints_a_bar, workers=1, progress=watcher, log_dir=tmp_path / "logs" / "new")
    text = (tmp_path / "logs" / "new" / "worker-0.log").read_text()
    assert text.count("done m") == 4
    assert not any("done m" in line for line in watcher.lines)
