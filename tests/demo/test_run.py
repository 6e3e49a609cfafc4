"""`evolvent demo`, smaller: it breeds, compares honestly, and tells where the best is."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch

import evolvent as ev
from evolvent.demo.digits import ConvNet, load_images
from evolvent.demo.run import demo


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def test_the_best_weights_are_where_it_says_and_as_good_as_it_says(store, console):
    outcome = demo(store=store, workers=0, control=False, population=4, rounds=4, console=console)
    model = ConvNet()
    path = Path(outcome.best_checkpoint) / "model.pt"
    model.load_state_dict(torch.load(path, weights_only=True))
    model.eval()
    images, labels = load_images().test
    accuracy = (model(images).argmax(1) == labels).double().mean().item()
    assert accuracy == outcome.best_test_score
    assert outcome.control_score is None
    assert str(path) in console.file.getvalue()


@pytest.mark.slow
def test_both_arms_start_with_the_same_members_and_train_equally_long(store, console):
    outcome = demo(store=store, workers=0, population=4, rounds=4, console=console)
    bred, control = (
        ev.load_study(name, store=store) for name in (outcome.study, f"{outcome.study}-random")
    )
    first = [
        [(j.hyperparameters, j.metrics) for j in study.jobs("done") if j.round == 0]
        for study in (bred, control)
    ]
    assert first[0] == first[1]
    assert len(bred.jobs("done")) == len(control.jobs("done")) == 16
    assert outcome.copies > 0
    assert all(job.donor is None for job in control.jobs())
    assert outcome.control_score == control.result().best.value


def test_json_is_the_last_line_of_standard_output_and_the_only_one(store, capsys):
    demo(store=store, workers=0, control=False, as_json=True, population=2, rounds=1)
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert {"best_score", "best_checkpoint", "control_score", "seconds"} <= told.keys()
    assert "random search" not in err
    assert Path(told["best_checkpoint"]).is_dir()


def test_a_second_demo_leaves_the_first_alone(store, console):
    names = [
        demo(store=store, workers=0, control=False, population=2, rounds=1, console=console).study
        for _ in range(2)
    ]
    assert names == ["digits", "digits-2"]


@pytest.mark.slow
def test_two_workers_find_what_one_finds(store, console, tmp_path):
    alone = demo(store=store, workers=0, control=False, population=4, rounds=3, console=console)
    other = f"sqlite:///{tmp_path}/other.db"
    two = demo(store=other, workers=2, control=False, population=4, rounds=3, console=console)
    logs = [
        sorted((j.id, j.score, j.checkpoint) for j in ev.load_study("digits", store=s).jobs())
        for s in (store, other)
    ]
    assert logs[0] == logs[1]
    assert alone.best_score == two.best_score


def test_without_scikit_learn_it_says_what_to_install_and_writes_nothing(
    store, console, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ev.EvolventError, match=r"pip install 'evolvent\[demo\]'"):
        demo(store=store, workers=0, console=console)
    assert list(tmp_path.iterdir()) == []
