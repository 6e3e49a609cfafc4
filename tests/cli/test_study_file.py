"""STUDY.toml: what it may say, and how its faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest

import evolvent as ev
from evolvent.cli.study_file import read_study_file
from tests.cli.commands import STUDY_FILE, study_file

WHOLE = """
[study]
name = "digits"
metric = "loss"
mode = "min"
population = 8
rounds = 20
seed = 3
synchronous = true
durability = "process"
target = 0.01
max_failures = 1
trainable = "package.module:train"
best = "mean of 3"
store = "sqlite:///digits.db"
workers = 4
devices = ["cuda:0"]
per_device = 2
threads = 1
wall_time_s = 60.0

[space]
lr = {type = "LogUniform", low = 1e-5, high = 1.0}
batch = 64
[space.optimizer]
momentum = {type = "Uniform", low = 0.1, high = 0.999}

[algorithm]
type = "PBT"
exploit = "BinaryTournament"
explore = {type = "Perturb", low = 0.5, high = 2.0}

[[initial]]
lr = 0.1
[[initial]]
lr = 0.2
optimizer.momentum = 0.9
"""


def read(text: str, tmp_path: Path) -> tuple[dict[str, object], dict[str, object], str | None]:
    said = read_study_file(Path(study_file(tmp_path, text)))
    return dict(said.settings), dict(said.running), said.store


def test_file_can_say_everything(tmp_path: Path) -> None:
    settings, running, store = read(WHOLE, tmp_path)
    space = settings.pop("space")
    assert space == ev.core.space.Space.of(  # type: ignore[attr-defined]  # a module of the package
        {
            "lr": ev.LogUniform(1e-5, 1.0),
            "batch": 64,
            "optimizer": {"momentum": ev.Uniform(0.1, 0.999)},
        }
    )
    assert settings == {
        "name": "digits",
        "metric": "loss",
        "mode": "min",
        "population": 8,
        "rounds": 20,
        "seed": 3,
        "synchronous": True,
        "durability": "process",
        "target": 0.01,
        "max_failures": 1,
        "trainable": "package.module:train",
        "best": "mean of 3",
        "algorithm": ev.PBT(ev.BinaryTournament(), ev.Perturb(low=0.5, high=2.0)),
        "initial": [{"lr": 0.1}, {"lr": 0.2, "optimizer": {"momentum": 0.9}}],
    }
    assert running == {
        "workers": 4,
        "devices": ["cuda:0"],
        "per_device": 2,
        "threads": 1,
        "wall_time_s": 60.0,
    }
    assert store == "sqlite:///digits.db"


@pytest.mark.parametrize(("name", "preset"), [("paper", ev.PBT.paper()), ("ray", ev.PBT.ray())])
def test_preset_can_be_named(name: str, preset: ev.PBT, tmp_path: Path) -> None:
    settings, _, _ = read(f'{STUDY_FILE}\n[algorithm]\ntype = "PBT.{name}"\n', tmp_path)
    assert settings["algorithm"] == preset


def test_what_the_file_leaves_out_is_left_to_the_defaults(tmp_path: Path) -> None:
    settings, running, store = read(STUDY_FILE, tmp_path)
    assert "algorithm" not in settings
    assert "target" not in settings
    assert (running, store) == ({"workers": 0}, None)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 1", "sede = 1", "[study]: unknown key 'sede': did you mean 'seed'?"),
        ("[space]", "[spaces]", "unknown key 'spaces': did you mean 'space'?"),
        ("rounds = 2\n", "", "[study] lacks rounds"),
        ('metric = "height"\nmode = "max"\n', "", "[study] lacks metric, mode"),
        ("[study]", "[study", "is not TOML"),
        ("Uniform", "Unifrom", "step: got type 'Unifrom'"),
        ("low = 0.1", "lo = 0.1", "has no field 'lo'"),
        ("low = 0.1, ", "", "lacks the field 'low'"),
        ("low = 0.1", "low = 2.0", "step: "),
        ('{type = "Uniform", low = 0.1, high = 1.0}', "[0.1, 1.0]", "step: got [0.1, 1.0]"),
        ("[space]", '[algorithm]\ntype = "PTB"\n[space]', "[algorithm]: "),
        ("[space]", "[initial]\nstep = 1\n[space]", "wanted tables [[initial]]"),
    ],
)
def test_fault_is_told_with_file_and_entry(old: str, new: str, told: str, tmp_path: Path) -> None:
    path = study_file(tmp_path, STUDY_FILE.replace(old, new))
    with pytest.raises(ev.ConfigError) as caught:
        read_study_file(Path(path))
    assert str(caught.value).startswith(path)
    assert told in str(caught.value)


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ev.ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        read_study_file(tmp_path / "nowhere.toml")


def test_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ev.ConfigError, match="not UTF-8"):
        read_study_file(path)


def test_file_without_a_table_for_the_study_is_told(tmp_path: Path) -> None:
    for text in ("", "study = 1"):
        with pytest.raises(ev.ConfigError, match=r"\[study\]"):
            read_study_file(Path(study_file(tmp_path, text)))
