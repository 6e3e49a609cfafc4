from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from evolvent.core.algorithms import (
    ALGORITHMS,
    PBT,
    RandomSearch,
    Replay,
    algorithm_from_json,
    algorithm_to_json,
)
from evolvent.core.exploit import BinaryTournament, NoExploit, Truncation, TTest
from evolvent.core.explore import Gaussian, NoExplore, Perturb, Resample, Shift
from evolvent.errors import ConfigError

ALL = (
    PBT(),
    PBT().for_rounds(10),
    PBT(Truncation(0.4, min_gap=0.1, burn_in=3), Perturb(low=0.5, high=2, bounds="reflect")),
    PBT(TTest(5, 0.1), [Resample(0.25), Perturb(factors=(0.8, 1.25))], copies="weights"),
    PBT(NoExploit(), {"lr": Gaussian(0.1), "net": {"depth": [Shift(), NoExplore()]}}),
    PBT(explore=Perturb(), explore_all=True),
    RandomSearch(),
    Replay(("lr", "act"), (0, 3), ((0.1, "relu"), (0.01, "tanh"))),
)


@pytest.mark.parametrize("algorithm", ALL)
def test_an_algorithm_survives_json_and_pickle_exactly(algorithm: Any) -> None:
    there = algorithm_from_json(json.loads(json.dumps(algorithm_to_json(algorithm))))
    assert there == algorithm
    assert repr(there) == repr(algorithm)
    assert hash(there) == hash(algorithm)
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm


def test_the_stored_form_is_readable() -> None:
    assert algorithm_to_json(PBT(Truncation(0.2), {"lr": Perturb(low=0.5, high=2)})) == {
        "type": "PBT",
        "exploit": {
            "type": "Truncation",
            "fraction": 0.2,
            "probability": 1.0,
            "min_gap": 0.0,
            "burn_in": 0,
        },
        "explore": {
            "lr": {"type": "Perturb", "low": 0.5, "high": 2.0, "factors": None, "bounds": "clip"}
        },
        "copies": "both",
    }


def test_the_stored_form_of_what_is_left_to_the_rounds_leaves_it_out() -> None:
    assert "explore" not in algorithm_to_json(PBT())
    assert algorithm_from_json({"type": "PBT"}).explore is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "Replay"])
def test_a_bare_name_is_an_algorithm_with_its_defaults(name: str) -> None:
    assert algorithm_from_json(name) == ALGORITHMS[name]()


def test_a_study_file_may_be_short() -> None:
    short = {"type": "PBT", "exploit": "BinaryTournament", "explore": ["Resample", "Perturb"]}
    assert algorithm_from_json(short) == PBT(BinaryTournament(), [Resample(), Perturb()])
    by_name = {"type": "PBT", "explore": {"lr": {"type": "Gaussian", "sigma": 0.1}}}
    assert algorithm_from_json(by_name) == PBT(explore={"lr": Gaussian(0.1)})


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("PBT.paper", PBT(Truncation(0.2), Perturb(factors=(0.8, 1.2), choices=True))),
        ("PBT.ray", PBT(Truncation(0.25), [Perturb(), Resample(0.25, choices=True)])),
    ],
)
def test_a_preset_has_a_name_and_is_stored_as_what_it_sets(name: str, preset: PBT) -> None:
    assert getattr(PBT, name.removeprefix("PBT."))() == preset
    assert algorithm_from_json(name) == algorithm_from_json({"type": name}) == preset
    assert algorithm_from_json(algorithm_to_json(preset)) == preset
    assert algorithm_to_json(preset)["type"] == "PBT"
    assert algorithm_from_json({"type": name, "exploit": "BinaryTournament"}) == PBT(
        BinaryTournament(), preset.explore
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("PBT2", "algorithm: got type 'PBT2', wanted one of PBT, RandomSearch"),
        (
            {"type": "PBT", "quantile": 0.2},
            "algorithm: PBT has no field 'quantile', wanted exploit",
        ),
        ({"type": "PBT.ray", "fraction": 0.1}, "algorithm: PBT has no field 'fraction'"),
        ({"type": "PBT", "exploit": "Best"}, "exploit: got type 'Best', wanted one of Truncation"),
        ({"type": "PBT", "copies": "all"}, "algorithm: copies: got 'all'"),
        ({"type": "RandomSearch", "exploit": "Best"}, "RandomSearch has no field 'exploit'"),
        (None, "algorithm: got None, wanted one of PBT"),
    ],
)
def test_bad_json_is_refused_by_name(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        algorithm_from_json(data)


def test_an_algorithm_that_is_not_ours_cannot_be_stored() -> None:
    class Mine:
        def decide(self, *arguments: Any, **named: Any) -> Any:
            return None

        def validate(self, space: Any, population: int) -> None:
            return None

    with pytest.raises(ConfigError, match="cannot be stored, only PBT, RandomSearch, Replay can"):
        algorithm_to_json(Mine())
