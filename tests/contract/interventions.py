"""Interventions: what people did to a study is told, once each, and only what changed it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import CopyBest
from evolvent.core.explore import NoExplore
from evolvent.errors import CheckpointMissing, ConfigError, UnknownStudy
from evolvent.store.interventions import InterventionKind
from evolvent.store.protocol import Store
from evolvent.store.records import Report, StudyState
from tests.contract.crew import Crew, Reopen
from tests.contract.moving import chequered, moved

HAND = "hand"


def done_to(crew: Crew) -> list[tuple[str, dict[str, Any]]]:
    """Return what was done to a study, as words of the kinds with their facts."""
    return [(i.kind.value, dict(i.facts)) for i in crew.store.interventions(crew.id)]


class InterventionsContract:
    """What people do leaves a trace."""

    def test_what_people_did_is_told_in_order_and_what_workers_did_is_not(
        self, store: Store, reopen: Reopen
    ) -> None:
        crew = Crew(store, population=1, rounds=20)
        assert done_to(crew) == []
        crew.train(0.5)
        store.extend(crew.id, rounds=40)
        store.stop(crew.id, reason="for the night")
        store.resume(crew.id)
        crew.train(0.5)
        store.push(crew.id, {"lr": 0.25})
        store.retarget(crew.id, target=0.75)
        store.retarget(crew.id, target=None)
        store.extend(crew.id, rounds=30)
        assert done_to(crew) == [
            ("extended", {"before": 20, "after": 40}),
            ("stopped", {"reason": "for the night"}),
            ("resumed", {"reason": "for the night", "stopped_by": HAND}),
            ("pushed", {"job": "m1r0"}),
            ("retargeted", {"before": None, "after": 0.75}),
            ("retargeted", {"before": 0.75, "after": None}),
            ("extended", {"before": 40, "after": 30}),
        ]
        told = store.interventions(crew.id)
        assert all(a.at <= b.at for a, b in pairwise(told))
        assert crew.status().created_at <= told[0].at
        assert reopen().interventions(crew.id) == told

    def test_who_did_it_is_told(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=2)
        store.extend(crew.id, rounds=3)
        store.stop(crew.id, reason="lunch")
        store.push(crew.id, {})
        assert len({i.by for i in store.interventions(crew.id)}) == 1
        assert all(i.by for i in store.interventions(crew.id))

    def test_who_is_named_has_done_it(self, home: Store) -> None:
        crew = Crew(home, population=1, rounds=2)
        calls: dict[str, Callable[[str], object]] = {
            "ada": lambda by: home.extend(crew.id, rounds=3, by=by),
            "bo": lambda by: home.stop(crew.id, reason="lunch", by=by),
            "cyd": lambda by: home.resume(crew.id, by=by),
            "dan": lambda by: home.retarget(crew.id, target=9.0, by=by),
            "eve": lambda by: home.push(crew.id, {}, by=by),
        }
        for name, call in calls.items():
            call(name)
        assert [i.by for i in home.interventions(crew.id)] == list(calls)

    def test_what_changes_nothing_is_not_told(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=2, target=0.75)
        for _ in range(2):
            store.resume(crew.id)
            store.extend(crew.id, rounds=2)
            store.retarget(crew.id, target=0.75)
            store.remember(crew.id, trainable="package.module:train")
        assert done_to(crew) == []

    def test_what_is_done_again_is_told_once(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=2)
        calls: list[Callable[[], object]] = [
            lambda: store.extend(crew.id, rounds=3),
            lambda: store.retarget(crew.id, target=9.0),
            lambda: store.stop(crew.id, reason="lunch"),
            lambda: store.resume(crew.id),
            lambda: store.push(crew.id, {}, key="2f0c"),
        ]
        for call in calls:
            call()
            call()
        kinds = ["extended", "retargeted", "stopped", "resumed", "pushed"]
        assert [kind for kind, _ in done_to(crew)] == kinds

    def test_what_is_refused_is_not_told(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        crew.train(0.5)
        with pytest.raises(ConfigError, match="rounds"):
            store.extend(crew.id, rounds=1)
        with pytest.raises(CheckpointMissing):
            store.push(crew.id, {}, done=Report(0.9, {"accuracy": 0.9}, "0" * 64))
        assert done_to(crew) == []

    def test_another_reason_for_a_stop_is_told_too(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9)
        for reason in ("lunch", "lunch", "dinner"):
            store.stop(crew.id, reason=reason)
        assert done_to(crew) == [
            ("stopped", {"reason": "lunch"}),
            ("stopped", {"reason": "dinner"}),
        ]

    def test_a_reached_target_is_no_intervention_but_to_go_on_is(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, target=0.5)
        crew.train(0.75)
        assert crew.status().state is StudyState.STOPPED
        assert done_to(crew) == []
        reason = crew.status().stopped or ""
        store.stop(crew.id, reason=reason)
        store.resume(crew.id)
        assert done_to(crew) == [
            ("stopped", {"reason": reason}),
            ("resumed", {"reason": reason, "stopped_by": HAND}),
        ]
        crew.train(0.25)
        crew.train(0.875)
        store.resume(crew.id)
        assert done_to(crew)[2:] == [
            ("resumed", {"reason": "m0r2 reached the target", "stopped_by": "target"})
        ]

    def test_a_failed_study_that_starts_again_is_told(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=3, algorithm=PBT(CopyBest(), NoExplore()))
        crew.fail(crew.claim())
        store.resume(crew.id)
        again = [("resumed", {"reason": None, "stopped_by": None})]
        assert done_to(crew) == again
        store.resume(crew.id)
        assert done_to(crew) == again

    def test_a_study_that_lacks_checkpoints_is_not_resumed(self, store: Store) -> None:
        copy = moved(chequered(store), store, name="copy", which="none")
        with pytest.raises(CheckpointMissing):
            store.resume(copy.id)
        assert done_to(copy) == []

    def test_the_newest_are_asked_for(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=1)
        for rounds in range(2, 7):
            store.extend(crew.id, rounds=rounds)
        found = [[i.facts["after"] for i in store.interventions(crew.id, limit=n)] for n in (0, 2)]
        assert found == [[], [5, 6]]
        assert len(store.interventions(crew.id)) == 5

    def test_they_go_with_their_study(self, store: Store) -> None:
        first, other = Crew(store, name="first"), Crew(store, name="other")
        for crew in (first, other):
            store.push(crew.id, {})
        store.delete_study(first.id)
        with pytest.raises(UnknownStudy):
            store.interventions(first.id)
        assert [i.kind for i in store.interventions(other.id)] == [InterventionKind.PUSHED]
        assert done_to(Crew(store, name="first")) == []
