"""Code of the user's that decides: tried before training starts, mended without a lost round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev

Explore = Callable[[dict[str, Any], np.random.Generator], Any]


def train(job: ev.Job) -> dict[str, float]:
    (job.directory / "x").write_text(str(job.id))
    return {"Q": job.hyperparameters["lr"]}


def slips_once(broken: Path, error: type[BaseException] | None = None) -> Explore:
    """Return a function that fails while a file is there."""

    def step(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        if error is not None and broken.exists():
            raise error
        return {"lr": h["learning_rate" if broken.exists() else "lr"] * 0.5}

    return step


def new_study(tmp_path: Path, explore: Any, **settings: Any) -> ev.Study:
    settings = {"store": f"sqlite:///{tmp_path}/e.db", **settings}
    return ev.create_study(
        "own",
        metric="Q",
        mode="max",
        population=4,
        rounds=3,
        seed=1,
        space={"lr": ev.Uniform(0.1, 1.0)},
        algorithm=ev.PBT(explore=ev.CustomExplore(explore)),
        **settings,
    )


@pytest.mark.slow
@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_no_round_is_lost_when_a_function_fails_later(
    tmp_path: Path, workers: int, synchronous: bool
) -> None:
    broken = tmp_path / "broken"

    def breaking(job: ev.Job) -> dict[str, float]:
        broken.touch()
        return train(job)

    study = new_study(tmp_path, slips_once(broken), synchronous=synchronous)
    match = r"(?s)'own' is stopped: .*step.* raised KeyError: 'learning_rate'.*in step"
    with pytest.raises(ev.DecisionError, match=match):
        study.run(breaking, workers=workers, progress=False)
    status = study.status()
    assert (status.state, status.stopped_by, study.failures()) == ("stopped", "decision", [])
    kept = {job.id: job.checkpoint for job in study.jobs("done")}
    assert kept
    with pytest.raises(ev.ConfigError, match="learning_rate"):  # before anything is trained
        study.run(train, workers=workers, progress=False)
    broken.unlink()
    mended = new_study(tmp_path, slips_once(broken), synchronous=synchronous, resume=True)
    mended.run(train, workers=workers, progress=False)
    done = study.jobs("done")
    assert len(done) == 12
    assert {job.attempt for job in done} == {1}
    assert kept.items() <= {job.id: job.checkpoint for job in done}.items()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_function_that_raises_what_ends_programs_only_stops_the_study(
    tmp_path: Path, workers: int
) -> None:
    broken = tmp_path / "broken"

    def breaking(job: ev.Job) -> dict[str, float]:
        broken.touch()
        return train(job)

    study = new_study(tmp_path, slips_once(broken, KeyboardInterrupt))
    with pytest.raises(ev.DecisionError, match="raised KeyboardInterrupt"):
        study.run(breaking, workers=workers, progress=False)
    assert study.status().stopped_by == "decision"
    broken.unlink()
    again = new_study(tmp_path, slips_once(broken, KeyboardInterrupt), resume=True)
    again.run(train, workers=workers, progress=False)
    assert [job.attempt for job in study.jobs("done")] == [1] * 12


def test_a_loop_of_ones_own_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    study = new_study(tmp_path, slips_once(broken))

    def loop(before: Callable[[], None]) -> None:
        while job := study.next_job(wait=True):
            with job:
                before()
                job.metrics = train(job)

    with pytest.raises(ev.DecisionError, match="learning_rate"):
        loop(broken.touch)
    broken.unlink()
    study.resume()
    loop(lambda: None)
    assert [job.attempt for job in study.jobs("done")] == [1] * 12


def test_nothing_is_written_when_a_function_fails_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    with pytest.raises(ev.ConfigError, match="tried on"):
        new_study(tmp_path, slips_once(broken))
    assert not (tmp_path / "e.db").exists()


def test_who_goes_on_with_a_study_gives_a_function_without_a_path_again(tmp_path: Path) -> None:
    new_study(tmp_path, slips_once(tmp_path / "broken"))
    again = ev.load_study("own", store=f"sqlite:///{tmp_path}/e.db")
    with pytest.raises(ev.ConfigError, match=r"slips_once.*give it again by create_study"):
        again.run(train, workers=0, progress=False)
    assert again.jobs("done") == []


def test_functions_of_any_kind_reach_workers(tmp_path: Path) -> None:
    study = new_study(tmp_path, lambda h, rng: {"lr": np.float32(h["lr"] * 0.5)})
    result = study.run(train, workers=1, progress=False)
    assert len(study.jobs("done")) == 12
    assert result.best.hyperparameters["lr"] > 0
