"""What the SQL store promises beyond the contract: speed that does not depend on size, caches."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import Truncation, TTest
from evolvent.core.population import Population
from evolvent.core.records import Copy, Decision, JobId, JobState, Keep, Member
from evolvent.errors import LeaseLost, UnknownStudy
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Report
from evolvent.store.sql import advance, claim, read, rows, session
from evolvent.store.sql import population as sql_population
from evolvent.store.sql import report as sql_work
from evolvent.store.sql.rows import ID_STRIDE, LazyHyperparameters
from evolvent.store.sqlite.database import SqliteDatabase
from tests.contract.crew import RAISED, Crew
from tests.contract.moving import eventful
from tests.settings import study_record, there_are

PER_REPORT = {
    "claim": claim.FAST_CLAIM,
    "next undecided": claim._NEXT_UNDECIDED,
    "next queued": claim.QUEUED,
    "next expired": claim.EXPIRED,
    "preferred": claim.PREFERRED,
    "prolong": sql_work._PROLONG,
    "head": sql_work.HEAD_OF_LEASE,
    "points before": sql_work._COUNT_POINTS,
    "append": advance._APPEND,
    "move": advance._WRITE_HEAD,
    "address": rows.CHECKPOINT_OF,
    "waiting": advance._WAITING,
    "due": advance._DUE_ROUND,
    "at work": advance._BUSY_BEFORE,
    "newer lines": sql_population._NEWER,
    "lineage of scores": sql_population._SCORES,
    "needed": session._NEEDED,
    "active": read._ACTIVE,
    "finished": read._FINISHED,
    "points": read._POINTS,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    yield store
    store.close()


class Bound(dict[str, Any]):
    """Binds every parameter of a statement."""

    def __missing__(self, name: str) -> int:
        return 1


@pytest.mark.parametrize("statement", PER_REPORT.values(), ids=PER_REPORT.keys())
def test_no_statement_of_a_claim_or_report_scans_a_table(statement: str, tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "log.db")
    with database.read() as tx:
        plan = [row[3] for row in tx.execute(f"EXPLAIN QUERY PLAN {statement}", Bound())]
    tables = ("study", "member", "job", "point", "pin", " m", " j", " first", " p", " s")
    assert not [step for step in plan if step.startswith("SCAN") and step.endswith(tables)], plan
    assert not [step for step in plan if "TEMP B-TREE" in step and "age" not in statement], plan
    database.close()


def test_a_claim_made_again_is_found_by_its_key(tmp_path: Path) -> None:
    """Every claim over HTTP looks for it, however many jobs are running."""
    database = SqliteDatabase(tmp_path / "log.db")
    with database.read() as tx:
        plan = [row[3] for row in tx.execute(f"EXPLAIN QUERY PLAN {claim._BY_KEY}", Bound())]
    assert plan == ["SEARCH member USING INDEX member_by_claim (claim=?)"]
    database.close()


def test_a_store_learns_what_another_has_changed_in_the_settings(store: Store) -> None:
    crew = Crew(store, study_record(population=2, rounds=1))
    crew.train(0.1)
    other = open_store(store.url)
    other.extend(crew.id, rounds=2)
    other.close()
    crew.run()
    assert there_are(crew.status()) == {JobState.DONE: 4}


def test_a_store_knows_the_members_that_others_have_reported(store: Store) -> None:
    algorithm = PBT(Truncation(0.5))
    crew = Crew(store, study_record(population=4, rounds=3, algorithm=algorithm))
    crew.train(0.4, member=0)
    other = open_store(store.url)
    theirs = Crew.__new__(Crew)
    theirs.__dict__.update(crew.__dict__, store=other)
    theirs.train(0.9, member=1)
    theirs.train(0.8, member=2)
    other.close()
    crew.train(0.1, member=3)
    assert crew.claim_of(3).job.parent in {JobId(1, 0), JobId(2, 0)}


@dataclass(frozen=True)
class Asks:
    """Goes on, and notes what the log said."""

    heard: list[Any]

    def decide(
        self, me: Member, population: Population, *, space: Any, rng: np.random.Generator
    ) -> Decision:
        history = population.history
        self.heard.append(([j.id for j in history.jobs()], list(history.scores(me.id, 2))))
        if me.id == 1 and me.round == 1:
            return Copy(0, dict(me.hyperparameters))
        return Keep()


def test_an_algorithm_sees_the_log_as_it_is_when_a_round_begins(store: Store) -> None:
    crew = Crew(store, study_record(population=2, rounds=4))
    heard: list[Any] = []
    store.use_algorithm(crew.id, Asks(heard))  # type: ignore[arg-type]  # all that is asked of it
    for score, member in [(0.1, 0), (0.2, 1), (0.3, 0), (0.4, 1), (0.5, 1)]:
        crew.train(score, member=member)
    assert heard == [
        (["m0r0", "m1r0"], [0.1]),
        (["m0r0", "m1r0", "m0r1"], [0.2]),
        (["m0r0", "m1r0", "m0r1", "m1r1"], [0.2, 0.4]),
    ]


def test_scores_of_others_and_of_failed_members_follow_their_lineage(store: Store) -> None:
    crew = Crew(store, study_record(population=3, rounds=5, max_failures=0))
    heard: list[list[float]] = []
    store.use_algorithm(crew.id, Listens(heard))  # type: ignore[arg-type]  # all that is asked
    crew.train(0.1, member=0)
    crew.train(0.2, member=1)
    crew.fail(crew.claim_of(2), RAISED)
    crew.train(0.3, member=0)
    failed, second, still_failed = heard
    assert (failed, second, still_failed) == ([], [0.2], [])


@dataclass(frozen=True)
class Listens:
    """Goes on, and notes the scores of itself when it has failed, else of member 1."""

    heard: list[list[float]]

    def decide(
        self, me: Member, population: Population, *, space: Any, rng: np.random.Generator
    ) -> Decision:
        whom = me.id if me.failed else 1
        self.heard.append(list(population.history.scores(whom, 5)))
        return Keep()


def test_the_t_test_breeds_from_the_log_alone(store: Store) -> None:
    crew = Crew(store, study_record(population=4, rounds=6, algorithm=PBT(TTest(3))))
    crew.run()
    assert there_are(crew.status()) == {JobState.DONE: 24}


def test_studies_in_one_file_keep_their_logs_apart(store: Store) -> None:
    one, other = Crew(store, name="one"), Crew(store, name="other")
    for crew in (one, other, one):
        crew.train(0.5)
    assert [job.id for job in store.jobs(one.id, states=[JobState.DONE])] == ["m0r0", "m1r0"]
    assert [job.id for job in store.jobs(other.id, states=[JobState.DONE])] == ["m0r0"]


def test_a_removed_study_leaves_no_row_in_any_table(store: Store, tmp_path: Path) -> None:
    crew = eventful(store)
    tables = ("member", "job", "point", "failure", "intervention", "pin")

    def rows_left() -> dict[str, int]:
        with closing(sqlite3.connect(tmp_path / "log.db")) as raw:
            count = "SELECT count(*) FROM"
            return {name: raw.execute(f"{count} {name}").fetchone()[0] for name in tables}

    assert all(rows_left().values())
    store.delete_study(crew.id)
    assert rows_left() == dict.fromkeys(tables, 0)


def test_a_removed_study_is_unknown_to_those_who_were_idle_on_it(store: Store) -> None:
    crew = Crew(store, study_record(population=1, rounds=1))
    crew.run()
    other = open_store(store.url)
    other.delete_study(crew.id)
    other.close()
    for _ in range(2):
        with pytest.raises(UnknownStudy):
            store.claim(crew.id, worker="w0", lease_s=1.0)
    with pytest.raises(UnknownStudy):
        store.delete_study(crew.id)


def test_a_report_on_a_study_that_another_has_removed_has_lost_its_lease(store: Store) -> None:
    crew = Crew(store)
    lease, report = crew.claim(), Report(0.5, {"accuracy": 0.5}, crew.save())
    other = open_store(store.url)
    other.delete_study(crew.id)
    other.close()
    with pytest.raises(LeaseLost, match="m0r0"):
        store.report(lease, report)


def test_a_traceback_that_utf_8_cannot_hold_is_kept_readable(store: Store) -> None:
    crew = Crew(store, study_record(max_failures=0))
    odd = type(RAISED)(RAISED.kind, "cannot read \udcff", "File \udcff")
    crew.fail(crew.claim(), odd)
    assert store.failures(crew.id)[0].failure.message == "cannot read \\udcff"


def test_checkpoints_lie_beside_the_file_under_a_plain_name(store: Store, tmp_path: Path) -> None:
    crew = Crew(store, name="Ziffern / Büro №1")
    assert store.checkpoints(crew.id).root == tmp_path / "log.checkpoints" / "Ziffern-B-ro-1-1"


def test_hyperparameters_read_late_are_a_mapping_like_any_other() -> None:
    values = LazyHyperparameters('{"lr":0.1,"steps":3}')
    assert values == {"lr": 0.1, "steps": 3}
    assert list(values) == ["lr", "steps"]
    assert len(values) == 2
    assert repr(values) == "{'lr': 0.1, 'steps': 3}"


def test_ids_of_a_study_do_not_run_into_the_next() -> None:
    assert ID_STRIDE > 10**9


def test_a_claim_and_report_costs_no_more_on_a_long_log(store: Store) -> None:
    """What grows with the log would show in the steps that SQLite takes."""
    crew = Crew(store, study_record(population=4, rounds=500, algorithm=PBT()))
    address = crew.save()

    def steps_of_a_job() -> int:
        n_calls = 0

        def count() -> int:
            nonlocal n_calls
            n_calls += 1
            return 0

        handles = store._session.database.connections  # type: ignore[attr-defined]  # looks inside
        handles._writer.set_progress_handler(count, 10)
        lease = crew.claim()
        store.report(lease, Report(0.5, {"accuracy": 0.5}, address))
        handles._writer.set_progress_handler(None, 10)
        return n_calls

    early = max(steps_of_a_job() for _ in range(20))
    for _ in range(600):
        lease = crew.claim()
        store.report(lease, Report(0.5, {"accuracy": 0.5}, address))
    late = steps_of_a_job()
    assert late <= early + 5


def test_only_a_best_by_a_mean_costs_a_report_one_statement_more(store: Store) -> None:
    def statements(best: str) -> list[str]:
        crew = Crew(store, study_record(name=best, population=2, rounds=9, best=best))
        for _ in range(6):
            crew.train(0.5)
        lease, address, seen = crew.claim(), crew.save(), []
        writer = store._session.database.connections._writer  # type: ignore[attr-defined]  # looks inside
        writer.set_trace_callback(seen.append)
        store.report(lease, Report(0.25, {"accuracy": 0.25}, address))
        writer.set_trace_callback(None)
        return seen

    plain, of_means = statements("score"), statements("mean of 3")
    assert len(of_means) == len(plain) + 1
    assert not any("RECURSIVE" in statement for statement in plain)
