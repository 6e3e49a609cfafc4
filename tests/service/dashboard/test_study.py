"""What the pages of studies say of a study."""

from __future__ import annotations

from dataclasses import replace

import evolvent as ev
from evolvent.service.dashboard.study import facts, summarize


def test_open_study_is_running_while_something_is_trained() -> None:
    study = ev.create_study(
        "state",
        metric="loss",
        mode="min",
        population=2,
        rounds=1,
        seed=1,
        space={"lr": ev.Uniform(0.1, 1.0)},
        store="memory://",
    )
    seen: list[str] = []

    def train(job: ev.Job) -> dict[str, float]:
        seen.append(summarize(study.store, study.status()).state)
        (job.directory / "weights").write_text("w")
        return {"loss": 1.0}

    before = summarize(study.store, study.status()).state
    study.run(train, workers=0, progress=False)
    after = summarize(study.store, study.status())
    study.store.close()
    assert (before, seen, after.state) == ("open", ["running", "running"], "finished")
    assert after.words.startswith("finished: 2 of 2 jobs")


def test_what_was_done_to_a_study_comes_with_the_newest_first() -> None:
    study = ev.create_study(
        "steered",
        metric="loss",
        mode="min",
        population=1,
        rounds=1,
        space={"lr": 0.5},
        store="memory://",
    )
    for rounds in range(2, 25):
        study.extend(rounds)
    done = summarize(study.store, study.status()).interventions
    study.store.close()
    assert done[0].words == "extended from 23 to 24 rounds"
    assert len(done) == 20


def test_best_by_a_mean_is_told_as_such() -> None:
    study = ev.create_study(
        "noisy",
        metric="loss",
        mode="min",
        population=1,
        rounds=2,
        space={"lr": 0.5},
        best="mean of 2",
        store="memory://",
    )

    def train(job: ev.Job) -> dict[str, float]:
        (job.directory / "weights").write_text("w")
        return {"loss": float(job.round)}

    study.run(train, workers=0, progress=False)
    status = study.status()
    assert summarize(study.store, status).words.endswith("best loss 0.5, mean of the last 2")
    assert facts(status)["best by"] == "mean of 2"
    study.store.close()


def test_time_left_is_told_while_something_is_trained_and_grows_with_silence() -> None:
    study = ev.create_study(
        "paced",
        metric="loss",
        mode="min",
        population=1,
        rounds=10,
        space={"lr": 0.5},
        store="memory://",
    )
    for _ in range(2):
        with study.next_job() as job:
            job.metrics = {"loss": 1.0}
    assert summarize(study.store, study.status()).left_s is None  # nobody trains
    study.next_job()
    status = study.status()
    soon = summarize(study.store, status).left_s
    late = summarize(study.store, replace(status, read_at=status.read_at + 60)).left_s
    study.store.close()
    assert soon < 8 * 30 <= late  # 8 jobs to go, of which the running one has not come for 60 s
