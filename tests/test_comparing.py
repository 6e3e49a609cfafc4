"""From names, patterns and studies to arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.analysis.comparison.comparison import Comparison
from evolvent.errors import ConfigError, UnknownStudy
from tests.trainables import climb


@pytest.fixture(scope="module")
def store() -> Any:
    """Three seeds of two arms; pbt-n climbs better than rs-n."""
    opened = ev.open_store("memory://")
    for seed in (1, 2, 3):
        for name, low in (("pbt", 0.8), ("rs", 0.2)):
            study = ev.create_study(
                f"{name}-{seed}", metric="height", mode="max", population=2, rounds=2, seed=seed,
                space={"step": ev.Uniform(low, low + 0.1)}, algorithm=ev.RandomSearch(),
                store=opened, durability="process",
            )  # fmt: skip
            study.run(climb, workers=0, progress=False)
    return opened


def names(found: Comparison) -> dict[str, list[str]]:
    return {arm.name: [seed.study for seed in arm.seeds] for arm in found.arms}


GROUPS = {"pbt": ["pbt-1", "pbt-2", "pbt-3"], "rs": ["rs-1", "rs-2", "rs-3"]}


def test_patterns_are_groups(store: Any) -> None:
    found = ev.compare("pbt-*", "rs-?", store=store)
    assert names(found) == {"pbt-*": GROUPS["pbt"], "rs-?": GROUPS["rs"]}
    assert {d.verdict for d in found.differences} == {"better"}
    assert all(d.estimate.paired for d in found.differences)


def test_lists_are_groups_named_by_what_their_names_begin_with(store: Any) -> None:
    found = ev.compare(GROUPS["pbt"], GROUPS["rs"], store=store)
    assert names(found) == GROUPS


def test_a_dict_names_them(store: Any) -> None:
    found = ev.compare({"PBT": "pbt-*", "random search": ["rs-1", "rs-[23]"]}, store=store)
    assert names(found) == {"PBT": GROUPS["pbt"], "random search": GROUPS["rs"]}


def test_names_alone_are_arms_of_one(store: Any) -> None:
    found = ev.compare("pbt-1", "rs-1", "rs-2", store=store)
    assert names(found) == {"pbt-1": ["pbt-1"], "rs-1": ["rs-1"], "rs-2": ["rs-2"]}
    assert [(d.figure, d.other) for d in found.differences] == [
        ("best", "rs-1"), ("best", "rs-2"), ("area", "rs-1"), ("area", "rs-2"),
    ]  # fmt: skip


def test_studies_and_results_do_as_well_from_several_stores(store: Any) -> None:
    elsewhere = ev.create_study(
        "far", metric="height", mode="max", space={"step": 0.5}, population=2, rounds=2,
        store="memory://", durability="process",
    )  # fmt: skip
    elsewhere.run(climb, workers=0, progress=False)
    found = ev.compare(ev.load_study("pbt-1", store=store), elsewhere.result())
    assert names(found) == {"pbt-1": ["pbt-1"], "far": ["far"]}


def test_a_name_with_a_star_in_it_is_that_study(store: Any, tmp_path: Path) -> None:
    opened = ev.open_store("memory://")
    for name in ("a*", "ab"):
        study = ev.create_study(
            name, metric="height", mode="max", space={"step": 0.5}, population=1, rounds=1,
            store=opened, durability="process",
        )  # fmt: skip
        study.run(climb, workers=0, progress=False)
    assert names(ev.compare("a*", store=opened)) == {"a*": ["a*"]}


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (["pbt-1", "rs-9"], "no study 'rs-9'"),
        (["pbt-1", "sha-*"], r"no study fits the pattern 'sha-\*'.*there are pbt-1, rs-1, pbt-2"),
    ],
)
def test_unknown_names_are_told_with_those_there_are(
    store: Any, arms: list[str], message: str
) -> None:
    with pytest.raises(UnknownStudy, match=message):
        ev.compare(*arms, store=store)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "got no study"),
        (["pbt-1", []], "an arm without a study"),
        (["pbt-*", "pbt-2"], r"'pbt-2' is in the arm 'pbt-\*' and also in 'pbt-2'"),
        ([["pbt-1", "pbt-*"]], "'pbt-1' is in the arm 'pbt' and twice in 'pbt'"),
        (["pbt-1", 3], "got int 3, wanted a Study, the name of one, a pattern"),
    ],
)
def test_what_makes_no_arms_is_refused(store: Any, arms: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ev.compare(*arms, store=store)


def test_the_mode_of_the_test_metric_is_checked(store: Any) -> None:
    with pytest.raises(ConfigError, match="test_mode: got 'up', wanted 'max' or 'min'"):
        ev.compare("pbt-1", store=store, test="depth", test_mode="up")  # type: ignore[arg-type]
    assert ev.compare("pbt-1", store=store, test="depth", test_mode="min").modes["depth"] == "min"


def test_two_arms_of_one_name_stay_two(store: Any) -> None:
    found = ev.compare(["pbt-1", "pbt-2"], ["pbt-3"], ["rs-1", "rs-2"], ["rs-3"], store=store)
    assert list(names(found)) == ["pbt", "pbt-3", "rs", "rs-3"]
    again = ev.compare({"x": "pbt-1"}, {"x": "rs-1"}, store=store)
    assert list(names(again)) == ["x", "x (2)"]
