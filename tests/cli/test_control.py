"""push, stop, extend, pin, unpin, gc, rm."""

from __future__ import annotations

from pathlib import Path

import pytest

import evolvent as ev
from tests.cli.commands import evolvent, fine, new_study, trained_study


def test_pushed_member_has_the_hyperparameters_given() -> None:
    study = new_study()
    assert fine("push", "hill", "step=0.5") == "member 3 is queued as m3r0\n"
    assert study.job("m3r0").hyperparameters["step"] == 0.5


def test_push_goes_to_the_newest_study_when_none_is_named() -> None:
    study = new_study()
    fine("push", "step=0.5", "optimizer.lr=0.01")
    assert study.job("m3r0").hyperparameters == {"step": 0.5, "optimizer": {"lr": 0.01}}


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (("step=7",), 1, "step"),
        (("pace=1",), 3, "pace"),
        (("step=fast",), 1, "fast"),
        (("step=nan",), 1, "nan"),
        (("optimizer.lr=2",), 1, "optimizer.lr"),
        (('optimizer={"pace": 1}',), 3, "optimizer.pace"),
        (("hill", "step"), 2, "NAME=VALUE"),
        (("=1",), 2, "NAME=VALUE"),
        (("step=0.5", "step=0.6"), 2, "given twice"),
    ],
)
def test_push_refuses_what_is_not_in_the_space(
    given: tuple[str, ...], code: int, told: str
) -> None:
    study = new_study()
    result = evolvent("push", *given)
    assert result.exit_code == code
    assert told in result.stderr
    assert study.status().members == 3


def test_words_and_flags_can_be_pushed() -> None:
    space = {"kind": ev.Choice(["relu", "tanh"]), "bias": ev.Choice([True, False])}
    study = new_study(space=space, algorithm=ev.RandomSearch())
    fine("push", "kind=relu", "bias=true")
    assert study.job("m3r0").hyperparameters == {"kind": "relu", "bias": True}


def test_values_are_read_as_the_space_means_them() -> None:
    space = {
        "kind": ev.Choice(["1", "2"]),
        "decay": ev.Choice([None, 0.1]),
        "name": ev.Choice(["null", "true"]),
        "step": ev.Uniform(0.1, 1.0),
    }
    study = new_study(space=space)
    fine("push", "kind=1", "decay=null", "name=null", "step=.5")
    assert study.job("m3r0").hyperparameters == {
        "kind": "1", "decay": None, "name": "null", "step": 0.5,
    }  # fmt: skip


def test_group_can_be_pushed_as_json() -> None:
    study = new_study()
    fine("push", "hill", 'optimizer={"lr": 0.01}')
    assert study.job("m3r0").hyperparameters["optimizer"] == {"lr": 0.01}


ALL = ("step=0.5", "optimizer.lr=0.01")


def test_model_that_was_trained_elsewhere_is_pushed_with_its_metrics(tmp_path: Path) -> None:
    study = new_study()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "height.json").write_text("9.5")
    text = fine("push", *ALL, "-m", "height=9.5", "--metrics", "depth=1", "--checkpoint", "model")
    assert text == "member 3 is m3r0, done: height 9.5\n"
    assert study.job("m3r0").metrics == {"height": 9.5, "depth": 1.0}
    assert "(job m3r0)" in fine("best")
    fine("resume", "--workers", "0")
    assert study.job("m3r1").metrics["height"] == 10.0


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ((*ALL, "--metrics", "height=9.5"), 1, "checkpoint: missing"),
        ((*ALL, "--checkpoint", "."), 1, "metrics: missing"),
        ((*ALL, "--metrics", "height=nan", "--checkpoint", "."), 1, "wanted a finite number"),
        ((*ALL, "--metrics", "depth=1", "--checkpoint", "."), 1, "'height'"),
        ((*ALL, "--metrics", "height=high", "--checkpoint", "."), 2, "height"),
        ((*ALL, "--metrics", "height", "--checkpoint", "."), 2, "NAME=VALUE"),
        (("step=0.5", "--metrics", "height=1", "--checkpoint", "."), 1, "optimizer.lr: missing"),
        ((*ALL, "--metrics", "height=1", "--checkpoint", "nowhere"), 3, "nowhere"),
    ],
)
def test_push_of_a_model_says_what_it_lacks(given: tuple[str, ...], code: int, told: str) -> None:
    study = new_study()
    result = evolvent("push", *given)
    assert result.exit_code == code
    assert told in result.stderr
    assert study.status().members == 3


def test_stopped_study_says_why() -> None:
    study = new_study()
    fine("stop", "hill", "--reason", "lunch")
    assert study.status().stopped == "lunch"
    assert "lunch" in fine("show")


def test_extended_study_goes_on() -> None:
    study = trained_study()
    fine("extend", "hill", "--rounds", "4")
    fine("resume", "hill", "--workers", "0")
    assert [view.newest.round for view in study.members() if view.newest] == [3, 3, 3]


@pytest.mark.parametrize(
    "arguments", [["5"], ["hill", "5"], ["-r", "5"], ["hill", "--rounds", "5"], ["5", "hill"]]
)
def test_rounds_may_stand_at_the_end(arguments: list[str]) -> None:
    study = new_study()
    result = evolvent("extend", *arguments)
    if arguments[-1] == "hill":
        assert (result.exit_code, "got 'hill', wanted a whole number" in result.stderr) == (2, True)
    else:
        assert result.stdout == "study hill has 5 rounds\n"
        assert study.record.rounds == 5


@pytest.mark.parametrize("arguments", [[], ["0"], ["a", "b", "5"], ["a", "b", "-r", "5"]])
def test_extend_without_a_number_of_rounds_is_wrong_usage(arguments: list[str]) -> None:
    new_study()
    result = evolvent("extend", *arguments)
    assert (result.exit_code, "ROUNDS" in result.stderr) == (2, True)


def test_study_cannot_be_made_shorter_than_what_was_trained() -> None:
    trained_study()
    assert evolvent("extend", "--rounds", "1").exit_code == 1


def test_pinned_checkpoint_outlives_a_collection() -> None:
    study = trained_study(rounds=3)
    kept = next(job for job in study.jobs("done") if job.round == 2)
    path = Path(fine("pin", kept.id).removesuffix("\n"))
    assert study.store.pins(study.id) == [kept.id]
    fine("gc")
    assert path.is_dir()
    fine("unpin", "hill", kept.id)
    assert study.store.pins(study.id) == []


@pytest.mark.parametrize("job", ["m9r0", "nine", "m0r0"])
def test_job_that_is_not_there_cannot_be_pinned(job: str) -> None:
    trained_study(rounds=3)
    result = evolvent("pin", job)
    assert result.exit_code == (1 if job == "m0r0" else 3)
    assert job in result.stderr


def test_pin_takes_a_study_and_a_job() -> None:
    trained_study()
    assert evolvent("pin", "hill", "m0r1", "m1r1").exit_code == 2


def test_gc_says_how_much_it_freed(tmp_path: Path) -> None:
    study = trained_study()
    staged = study.store.checkpoints(study.id).stage("left")
    (staged / "half").write_bytes(b"x" * 5000)
    assert fine("gc").endswith(" freed\n")


def test_rm_asks_first() -> None:
    trained_study()
    assert evolvent("rm", "hill", answer="n\n").exit_code == 1
    assert [s.record.name for s in ev.list_studies()] == ["hill"]
    fine("rm", "hill", answer="y\n")
    assert ev.list_studies() == []


def test_rm_needs_a_name_and_no_question_with_yes() -> None:
    trained_study()
    assert evolvent("rm").exit_code == 2
    fine("rm", "hill", "--yes")
    assert ev.list_studies() == []
