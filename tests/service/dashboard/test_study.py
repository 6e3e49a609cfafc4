"""What the pages of studies say of a study."""

from __future__ import annotations

import evolvent as ev
from evolvent.service.dashboard.study import summarize


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
