"""Synchronous studies: everybody waits, everybody decides against the same snapshot."""

from __future__ import annotations

import random
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import BinaryTournament, CopyBest, Truncation, TTest
from evolvent.core.explore import NoExplore, Perturb
from evolvent.core.records import JobId, JobRecord
from evolvent.store.protocol import Store
from evolvent.store.records import StudyState
from tests.contract.crew import LOST, RETURNED, Crew, Scores

COPY_BEST = PBT(exploit=CopyBest(), explore=NoExplore())
MOVING = [
    PBT(exploit=Truncation(0.4), explore=Perturb()),
    PBT(exploit=BinaryTournament()),
    PBT(exploit=TTest(3, 0.5)),
]


def smooth(job: JobRecord) -> float:
    """A score that depends on what the job is, and on nothing else."""
    lr = float(job.hyperparameters["lr"] or 0.0)
    return (lr * 7919 + job.round * 0.37 + job.member * 0.11) % 1.0


def often_failing(job: JobRecord) -> float | None:
    """As `smooth`, but a third of the jobs fail."""
    score = smooth(job)
    return None if score < 0.35 else score


class RoundsContract:
    """Synchronous studies."""

    def test_member_waits_until_the_round_is_over(self, store: Store) -> None:
        crew = Crew(store, population=3, synchronous=True)
        first, second, third = crew.claim(), crew.claim(), crew.claim()
        crew.report(second, 0.5)
        crew.fail(first)
        assert crew.nothing_to_claim()
        assert [view.open is None for view in store.members(crew.id)] == [True, True, False]
        assert crew.status().state is StudyState.OPEN
        crew.report(third, 0.5)
        assert [view.open is None for view in store.members(crew.id)] == [True, False, False]
        assert crew.claim().job.id == "m1r1"

    def test_all_decide_against_the_same_snapshot(self, store: Store) -> None:
        crew = Crew(store, population=3, synchronous=True, algorithm=COPY_BEST)
        crew.train(0.1, member=0)
        crew.train(0.3, member=2)
        crew.train(0.3, member=1)
        assert [crew.open(member).parent for member in range(3)] == ["m1r0", "m2r0", "m1r0"]
        crew.check_disk()

    def test_queued_job_holds_the_round_back_as_a_running_one_does(self, store: Store) -> None:
        crew = Crew(store, population=2, synchronous=True)
        crew.train(0.5, member=0)
        crew.fail(crew.claim_of(1), RETURNED)
        assert crew.claim().job.id == "m1r0"

    @pytest.mark.parametrize("algorithm", MOVING, ids=["truncation", "tournament", "t-test"])
    @pytest.mark.parametrize("scores", [smooth, often_failing])
    def test_log_does_not_depend_on_the_order_of_reports(
        self, store: Store, algorithm: PBT, scores: Scores
    ) -> None:
        settings: dict[str, Any] = {
            "population": 5,
            "rounds": 5,
            "synchronous": True,
            "algorithm": algorithm,
        }
        crew = Crew(store, name="in order", **settings)
        crew.run(scores)
        assert any(job.donor is not None for job in store.jobs(crew.id))
        for seed in range(2):
            other = Crew(store, name=f"shuffled {seed}", **settings)
            _run_shuffled(other, scores, random.Random(seed))
            assert other.log() == crew.log()
            assert other.status().best == crew.status().best

    def test_lost_attempts_leave_no_trace_but_their_number(self, store: Store) -> None:
        settings: dict[str, Any] = {"population": 4, "synchronous": True, "algorithm": MOVING[0]}
        crew = Crew(store, name="undisturbed", rounds=4, **settings)
        crew.run(smooth)
        other = Crew(store, name="disturbed", rounds=4, **settings)
        draw = random.Random(1)
        while (lease := store.claim(other.id, worker="w0", lease_s=3600.0)) is not None:
            if draw.random() < 0.4:
                other.fail(lease, draw.choice([LOST, RETURNED]))
            else:
                other.finish(lease, smooth)
        assert _without_attempts(other) == _without_attempts(crew)
        assert store.failures(other.id) != []

    @pytest.mark.parametrize("scores", [smooth, often_failing])
    def test_extended_study_goes_on_as_if_it_had_been_that_long(
        self, store: Store, scores: Scores
    ) -> None:
        settings: dict[str, Any] = {"population": 5, "synchronous": True, "algorithm": MOVING[0]}
        long = Crew(store, name="long", rounds=6, **settings)
        long.run(scores)
        short = Crew(store, name="short", rounds=3, **settings)
        short.run(scores)
        assert short.status().state is StudyState.FINISHED
        store.extend(short.id, rounds=6)
        assert short.status().state is StudyState.OPEN
        assert short.status().record.rounds == 6
        short.check_disk()
        short.run(scores)
        assert short.log() == long.log()

    def test_study_extended_in_its_last_round_goes_on_the_same_way(self, store: Store) -> None:
        settings: dict[str, Any] = {"population": 4, "synchronous": True, "algorithm": MOVING[0]}
        long = Crew(store, name="long", rounds=4, **settings)
        long.run(smooth)
        short = Crew(store, name="short", rounds=2, **settings)
        for _ in range(6):
            short.finish(short.claim(), smooth)
        store.extend(short.id, rounds=4)
        assert short.member(0).open is None
        short.run(smooth)
        assert short.log() == long.log()

    def test_all_have_failed_when_a_round_ends_without_a_healthy_one(self, store: Store) -> None:
        crew = Crew(store, population=3, synchronous=True, algorithm=COPY_BEST)
        crew.run(lambda job: 0.5 if job.round == 0 else None)
        assert crew.status().state is StudyState.FAILED
        store.resume(crew.id)
        parents = [crew.open(member).parent for member in range(3)]
        assert parents == [store.job(crew.id, JobId(m, 1)).parent for m in range(3)]
        crew.run()
        assert crew.status().state is StudyState.FINISHED

    def test_failed_member_is_revived_at_the_end_of_the_round(self, store: Store) -> None:
        crew = Crew(store, population=3, synchronous=True, algorithm=MOVING[0])
        crew.run(lambda job: None if job.id == "m1r0" else smooth(job))
        donor = store.job(crew.id, JobId(1, 1)).donor
        assert donor in {0, 2}

    def test_pushed_member_catches_up_while_the_others_wait(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, synchronous=True, algorithm=MOVING[0])
        for _ in range(3):
            crew.finish(crew.claim(), smooth)
        running = crew.claim()
        assert store.push(crew.id, {"lr": 0.5}) == "m2r0"
        crew.finish(running, smooth)
        crew.finish(crew.claim_of(2), smooth)
        assert [view.open is None for view in store.members(crew.id)] == [True, True, False]
        order: list[str] = []

        def noted(job: JobRecord) -> float:
            order.append(job.id)
            return smooth(job)

        crew.run(noted)
        assert order[:2] == ["m2r1", "m0r2"]
        assert crew.status().state is StudyState.FINISHED

    def test_pushed_member_does_not_wait_for_those_who_are_a_round_ahead(
        self, store: Store
    ) -> None:
        crew = Crew(store, population=2, rounds=3, synchronous=True, algorithm=MOVING[0])
        crew.train(0.5)
        crew.train(0.5)
        store.push(crew.id, {"lr": 0.5})
        crew.finish(crew.claim_of(2), smooth)
        assert crew.open(2).id == "m2r1"

    def test_rounds_can_be_taken_back_while_members_wait_for_them(self, store: Store) -> None:
        crew = Crew(store, population=2, rounds=3, synchronous=True)
        running = crew.claim_of(1)
        crew.train(0.5, member=0)
        store.extend(crew.id, rounds=1)
        crew.report(running, 0.5)
        assert crew.status().state is StudyState.FINISHED
        assert len(store.jobs(crew.id)) == 2


def _run_shuffled(crew: Crew, scores: Scores, draw: random.Random) -> None:
    """Let several workers claim and report in any order."""
    held = []
    while True:
        lease = crew.store.claim(crew.id, worker="w0", lease_s=3600.0, prefer=draw.randrange(5))
        if lease is not None:
            held.append(lease)
        if not held:
            return
        if lease is None or draw.random() < 0.5:
            crew.finish(held.pop(draw.randrange(len(held))), scores)


def _without_attempts(crew: Crew) -> dict[str, tuple[Any, ...]]:
    return {job: row[:-1] for job, row in crew.log().items()}
