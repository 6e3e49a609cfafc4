from __future__ import annotations

import json
from typing import Any

import pytest

from evolvent.core.algorithms import Replay, algorithm_from_json, algorithm_to_json
from evolvent.core.distributions import Choice, LogUniform
from evolvent.core.records import Keep, Member, Stop
from evolvent.core.space import Space
from evolvent.errors import ConfigError, OutOfSpace
from tests.core.builders import population, seeded

SPACE = Space.of({"net": {"lr": LogUniform(1e-4, 1.0)}, "act": Choice(["relu", "tanh"])})


def replay() -> Replay:
    """Two rounds of one segment, then three of another."""
    return Replay.of(
        [(0, {"net.lr": 0.1, "act": "relu"}), (2, {"net.lr": 0.01, "act": "tanh"})],
    )


def decision(round: int, *, score: float | None = 0.5, member: int = 0) -> Any:
    me = Member(member, round, score, {"net.lr": 0.5, "act": "relu"})
    return replay().decide(me, population([0.9, 0.1]), space=SPACE, rng=seeded(0))


def test_the_hyperparameters_of_the_next_round_depend_on_nothing_but_the_round() -> None:
    found = [decision(round, score=score, member=m).hyperparameters
             for score in (0.0, 1.0) for m in (0, 1) for round in range(4)]  # fmt: skip
    first, second = {"net.lr": 0.1, "act": "relu"}, {"net.lr": 0.01, "act": "tanh"}
    assert found == [first, second, second, second] * 4


def test_after_the_end_of_the_schedule_its_last_hyperparameters_stay() -> None:
    assert decision(100).hyperparameters == {"net.lr": 0.01, "act": "tanh"}
    assert replay().at(100) == {"net.lr": 0.01, "act": "tanh"}


def test_the_reason_says_when_a_segment_begins() -> None:
    assert isinstance(decision(1), Keep)
    assert decision(1).reason == "replay: segment 2 of 2 of the schedule begins"
    assert decision(2).reason == "replay: goes on with the same segment of the schedule"


def test_a_failed_member_is_out() -> None:
    assert decision(1, score=None) == Stop("failed; a replay copies nobody")


def test_it_survives_json_exactly() -> None:
    there = algorithm_from_json(json.loads(json.dumps(algorithm_to_json(replay()))))
    assert there == replay()
    assert hash(there) == hash(replay())
    assert json.loads(json.dumps(algorithm_to_json(replay()))) == {
        "type": "Replay",
        "names": ["net.lr", "act"],
        "starts": [0, 2],
        "values": [[0.1, "relu"], [0.01, "tanh"]],
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"starts": [1, 2]}, "starts: got segments from rounds .1, 2., wanted the first to start"),
        ({"starts": [0, 0]}, "every other later than the one before"),
        ({"starts": []}, "starts: got segments from rounds"),
        ({"starts": [0, "two"]}, "starts: got 'two', wanted a whole number"),
        ({"starts": 3}, "starts: got 3, wanted a list"),
        ({"values": [[0.1]]}, "values: got 1 segments, 2 starts"),
        ({"values": [[0.1], [0.1, 0.2]]}, "values: round 2: got 2, wanted one for each of lr"),
        ({"values": [0.1, 0.2]}, "values: got 0.1, wanted a list"),
    ],
)
def test_what_is_no_schedule_is_refused(fields: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"names": ["lr"], "starts": [0, 2], "values": [[0.1], [0.2]]}
    with pytest.raises(ConfigError, match=message):
        Replay(**{**good, **fields})


def test_segments_must_have_the_same_names() -> None:
    with pytest.raises(ConfigError, match="round 3: hyperparameter momentum is not in every"):
        Replay.of([(0, {"lr": 0.1, "momentum": 0.9}), (3, {"lr": 0.1})])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"net.lr": 2.0, "act": "relu"}, "schedule: round 2: hyperparameter net.lr: got 2.0"),
        ({"net.lr": 0.1, "act": "gelu"}, "schedule: round 2: hyperparameter act: got 'gelu'"),
    ],
)
def test_validate_says_where_a_schedule_leaves_the_space(values: Any, message: str) -> None:
    wrong = Replay.of([(0, {"net.lr": 0.1, "act": "relu"}), (2, values)])
    with pytest.raises(OutOfSpace, match=message):
        wrong.validate(SPACE, 3)


def test_validate_names_what_is_missing_and_what_is_too_much() -> None:
    with pytest.raises(OutOfSpace, match="round 0: hyperparameter act: missing"):
        Replay.of([(0, {"net.lr": 0.1})]).validate(SPACE, 1)
    with pytest.raises(OutOfSpace, match="round 0: hyperparameter beta: not in the space"):
        Replay.of([(0, {"net.lr": 0.1, "act": "relu", "beta": 1})]).validate(SPACE, 1)
    replay().validate(SPACE, 3)
