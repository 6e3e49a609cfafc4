"""The best job by the mean of the last scores along its lineage."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import BinaryTournament, CopyBest
from evolvent.core.explore import NoExplore
from evolvent.core.records import JobId, JobState
from evolvent.store.protocol import Store
from evolvent.store.records import StudyState
from tests.contract.crew import LOST, RAISED, Crew
from tests.contract.moving import moved
from tests.contract.reference.store import ReferenceStore
from tests.contract.rounds import often_failing

COPY_BEST = PBT(exploit=CopyBest(), explore=NoExplore())


def trained(store: Store, *rounds: tuple[float | None, ...], **settings: Any) -> Crew:
    """Return a study whose members have these scores, round after round; None: failed."""
    crew = Crew(store, **{"population": len(rounds[0]), "rounds": 9, **settings})
    for scores in rounds:
        for member, score in enumerate(scores):
            lease = crew.claim_of(member)
            if score is None:
                crew.fail(lease)
            else:
                crew.report(lease, score)
    return crew


def best(crew: Crew) -> tuple[JobId | None, float | None, int]:
    status = crew.status()
    return status.best, status.best_score, status.best_scores


class BestContract:
    """The setting `best`."""

    def test_no_job_done_is_no_best(self, store: Store) -> None:
        crew = Crew(store, population=2, best="mean of 2")
        assert best(crew) == (None, None, 1)
        crew.fail(crew.claim())
        assert best(crew) == (None, None, 1)

    def test_best_by_score_is_of_one_score(self, store: Store) -> None:
        crew = trained(store, (0.5, 0.75), (0.625, 0.25))
        assert best(crew) == ("m1r0", 0.75, 1)

    def test_mean_of_the_last_scores_chooses_and_not_a_lucky_one(self, store: Store) -> None:
        crew = trained(store, (0.5, 0.0), (0.5, 1.0), (0.5, 0.125), best="mean of 3")
        assert best(crew) == ("m0r2", 0.5, 3)
        assert crew.status().best_value == 0.5
        crew.train(0.75, member=0)
        crew.train(0.5625, member=1)
        assert best(crew) == ("m0r3", 1.75 / 3, 3)

    def test_only_the_last_scores_count(self, store: Store) -> None:
        crew = trained(store, (1.0, 0.0), (0.0, 0.5), (0.25, 0.5), best="mean of 2")
        assert best(crew) == ("m0r1", 0.5, 2)  # as good as m1r2, and earlier

    def test_shorter_lineages_rank_below_longer_ones(self, store: Store) -> None:
        crew = trained(store, (0.0, 1.0), best="mean of 3")
        assert best(crew) == ("m1r0", 1.0, 1)
        crew.train(0.25, member=0)
        assert best(crew) == ("m0r1", 0.125, 2)
        crew.train(0.0, member=1)
        assert best(crew) == ("m1r1", 0.5, 2)
        crew.train(-1.0, member=0)
        assert best(crew) == ("m0r2", -0.25, 3)
        crew.push_done(9.0)
        assert best(crew) == ("m0r2", -0.25, 3)

    def test_of_equal_means_the_lowest_round_then_member(self, store: Store) -> None:
        crew = Crew(store, population=3, rounds=9, best="mean of 2")
        late = crew.claim_of(0)
        for member, score in ((1, 0.1), (2, 0.3)):
            crew.train(score, member=member)
        crew.report(late, 0.2)
        two, one = crew.claim_of(2), crew.claim_of(1)
        crew.report(two, 0.1)
        assert best(crew) == ("m2r1", 0.2, 2)
        crew.report(one, 0.3)  # the same two scores, in another order
        assert best(crew) == ("m1r1", 0.2, 2)
        crew.train(0.2, member=0)
        assert best(crew) == ("m0r1", 0.2, 2)
        crew.train(0.2, member=0)
        assert best(crew) == ("m0r1", 0.2, 2)

    def test_a_metric_to_be_minimised(self, store: Store) -> None:
        losses = (-3.0, -0.5), (-2.0, -8.0)
        crew = trained(store, *losses, metric="loss", mode="min", best="mean of 2")
        assert best(crew) == ("m0r1", -2.5, 2)
        assert crew.status().best_value == 2.5

    def test_lineage_goes_on_in_the_member_that_was_copied(self, store: Store) -> None:
        crew = trained(store, (0.5, 0.25), best="mean of 2", algorithm=COPY_BEST)
        lease = crew.claim_of(1)
        assert lease.job.parent == "m0r0"
        crew.report(lease, 0.75)
        assert best(crew) == ("m1r1", 0.625, 2)

    def test_failed_jobs_are_no_scores(self, store: Store) -> None:
        crew = trained(store, (0.5, 0.25), (None, 0.25), best="mean of 3", algorithm=COPY_BEST)
        assert best(crew) == ("m1r1", 0.25, 2)
        lease = crew.claim_of(0)
        assert lease.job.parent == "m1r0"
        crew.report(lease, 0.75)
        assert best(crew) == ("m0r2", 0.5, 2)
        crew.fail(crew.claim_of(1))
        crew.train(0.5, member=0)
        assert best(crew) == ("m0r3", 0.5, 3)

    def test_lost_and_repeated_attempts_count_once(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, best="mean of 3")
        report = None
        for score in (0.25, 0.5):
            crew.fail(crew.claim(), LOST)
            crew.fail(crew.claim(), RAISED)
            lease = crew.claim()
            report = crew.report(lease, score)
            store.report(lease, report)  # sent again: its answer had been lost
        assert report is not None
        assert best(crew) == ("m0r1", 0.375, 2)

    def test_target_is_reached_by_the_mean_of_all_of_them(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, target=0.5, best="mean of 3")
        for score in (1.0, 1.0):  # fewer than three
            crew.train(score)
            assert crew.status().state is StudyState.OPEN
        crew.train(-1.0)
        crew.train(1.25)  # a lucky one: the mean is 0.4167
        assert crew.status().state is StudyState.OPEN
        assert not crew.status().at_target
        crew.train(1.25)
        assert crew.status().state is StudyState.STOPPED
        assert crew.status().at_target
        store.retarget(crew.id, target=0.75)
        assert crew.status().state is StudyState.OPEN

    def test_target_that_only_fewer_scores_would_reach_reopens(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, target=0.5, best="mean of 2")
        crew.train(1.0)
        crew.train(0.0)
        assert crew.status().state is StudyState.STOPPED
        store.retarget(crew.id, target=0.625)
        assert crew.status().state is StudyState.OPEN

    def test_mean_of_the_largest_scores_is_finite(self, store: Store) -> None:
        crew = trained(store, (1.5e308, -1.5e308), (1.5e308, -1.5e308), best="mean of 2")
        assert best(crew) == ("m0r1", 1.5e308, 2)

    def test_checkpoint_of_the_best_is_kept_and_that_of_the_last_is_not(self, store: Store) -> None:
        crew = Crew(store, population=1, rounds=9, best="mean of 2")
        first, second = (crew.report(crew.claim(), score) for score in (0.5, 0.75))
        kept = store.checkpoints(crew.id)
        third = crew.report(crew.claim(), 0.0)
        assert second.checkpoint in kept
        assert first.checkpoint not in kept
        crew.report(crew.claim(), 0.25)
        assert third.checkpoint not in kept
        assert second.checkpoint in kept
        crew.report(crew.claim(), 1.25)
        assert second.checkpoint not in kept
        store.collect(crew.id)
        crew.check_disk()
        store.extend(crew.id, rounds=10)
        crew.run(lambda _: 0.0)
        assert best(crew) == ("m0r4", 0.75, 2)

    @pytest.mark.parametrize("window", [2, 3, 100])
    @pytest.mark.parametrize("synchronous", [True, False])
    def test_best_is_that_of_the_whole_log_also_where_it_is_moved_to(
        self, store: Store, tmp_path: Path, window: int, synchronous: bool
    ) -> None:
        crew = Crew(
            store,
            algorithm=PBT(exploit=BinaryTournament()),
            population=5,
            rounds=8,
            synchronous=synchronous,
            best=f"mean of {window}",
        )
        rng = random.Random(window)
        for _ in range(33):
            lease = crew.claim(prefer=rng.randrange(5))
            crew.finish(lease, lambda job: often_failing(job) and rng.choice([0.1, 0.2, 0.3]))
        ranks = {}
        for job in store.jobs(crew.id, states=[JobState.DONE]):
            line = store.lineage(crew.id, job.id)[::-1]
            scores = [Fraction(it.score) for it in line if it.score is not None][:window]
            mean = float(sum(scores) / len(scores))
            ranks[job.id] = (len(scores), mean, -job.round, -job.member)
        wanted = max(ranks, key=lambda job: ranks[job])
        assert best(crew) == (wanted, ranks[wanted][1], ranks[wanted][0])
        out = moved(crew, ReferenceStore(tmp_path / "reference"))
        back = moved(out, store, name="back")
        assert best(out) == best(back) == best(crew)
        back.check_disk()
