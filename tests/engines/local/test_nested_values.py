"""Lists, tuples and dicts as hyperparameters: the same wherever a round runs and is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.log import Log
from evolvent.analysis.plots.axis import Axis

SPACE = {
    "lr": ev.LogUniform(np.float32(1e-4), 1e-1),
    "betas": (0.9, 0.999),
    "hidden": ev.Choice([(64, 64), (400, 300)]),
    "optimizer": ev.Choice([{"name": "sgd"}, {"name": "adam", "eps": 1e-8}]),
    "size": ev.Ordinal(np.array([[16, 16], [32, 32]])),
    "mix": ev.Choice([1, "1", True]),
    "aug": {},
}


def nested(job: ev.Job) -> dict[str, Any]:
    values = job.hyperparameters
    (job.directory / "seen").write_text(repr(values))
    optimizer, size = values["optimizer"].copy(), list(values["size"])
    values["optimizer"].clear()  # what training code does with its values is its own affair
    values["size"].append(1)
    assert values["betas"] == (0.9, 0.999)
    return {"at": -abs(values["lr"] - 0.01), "hash": hash(values["hidden"]), "size": size[0],
            "optimizer": optimizer["name"], "mix": str(values["mix"])}  # fmt: skip


def create(store: str, space: Any = SPACE, **settings: Any) -> ev.Study:
    explore = [ev.Perturb(factors=(0.5, 2)), ev.Resample(0.5, choices=True)]
    return ev.create_study(
        "nested", metric="at", mode="max", space=space, population=np.int64(4), rounds=3, seed=3,
        synchronous=True, store=store, algorithm=ev.PBT(ev.CopyBest(), explore), **settings,
    )  # fmt: skip


@pytest.mark.slow
def test_workers_see_what_was_given_and_the_log_is_the_same(tmp_path: Path) -> None:
    alone, crowd = (create(f"sqlite:///{tmp_path}/{n}.db") for n in "ab")
    alone.run(nested, workers=0, progress=False)
    crowd.run(nested, workers=2, progress=False)

    def log(study: ev.Study) -> list[Any]:
        return [(j.id, j.parent, j.hyperparameters, j.metrics) for j in study.jobs()]

    assert sorted(log(alone)) == sorted(log(crowd))
    best = alone.result().best
    assert (best.checkpoint / "seen").read_text() == repr(best.hyperparameters)


def test_schedule_archive_and_resumption_keep_the_values(tmp_path: Path) -> None:
    study = create(f"sqlite:///{tmp_path}/a.db")
    best = study.run(nested, workers=0, progress=False).best
    best.schedule.save(tmp_path / "s.json")
    assert ev.Schedule.load(tmp_path / "s.json") == best.schedule
    study.export(tmp_path / "a.zip")
    imported = ev.import_study(tmp_path / "a.zip", store="memory://")
    assert repr(imported.record.space) == repr(study.record.space)
    assert imported.jobs() == study.jobs()
    lists = {**SPACE, "betas": ev.Constant([0.9, 0.999])}
    assert create(study.store.url, lists, resume=True).record.space == study.record.space
    with pytest.raises(ev.StudyExists, match=r"another space\.mix"):
        create(study.store.url, {**SPACE, "mix": ev.Choice([True, "1", 1])}, resume=True)


def test_frames_and_explanations_tell_the_values_apart(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    study = create("memory://")
    result = study.run(nested, workers=0, progress=False)
    frame = result.jobs()
    assert set(frame["mix"].cat.categories) == {"1", '"1"', "True"}
    assert {tuple(json.loads(text)) for text in frame["hidden"]} <= {(64, 64), (400, 300)}
    axes = {
        n: Axis.of_hyperparameter(Log.read(study.store, study.id), n).categories
        for n in ("mix", "hidden")
    }
    assert axes == {"mix": ("1", '"1"', "true"), "hidden": ("[64, 64]", "[400, 300]")}
    assert result.diversity().spread["hidden"][0] == 1.0
    assert all(str(result.explain(job.id)) for job in study.jobs())
