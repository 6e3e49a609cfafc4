"""The family tree: founders, common ancestors, what is left; checked against plain walking."""

from __future__ import annotations

import numpy as np
import pytest

import evolvent as ev
from evolvent.analysis.lineage.family_tree import FamilyTree, branches, surviving
from evolvent.analysis.log import Log
from evolvent.core.records import JobId
from evolvent.core.rng import stream
from evolvent.errors import UnknownJob
from evolvent.store import open_store
from tests.analysis.builders import log_of
from tests.contract.crew import Crew

THREE = {
    "m0r0": "", "m1r0": "", "m2r0": "",
    "m0r1": "m0r0", "m1r1": "m0r0", "m2r1": "m2r0",
    "m0r2": "m0r1", "m1r2": "m1r1", "m2r2": "m1r1",
}  # fmt: skip
"""Member 1 copies member 0 after round 0, member 2 copies member 1 after round 1."""


def tree_of_three() -> FamilyTree:
    return FamilyTree.of(log_of(THREE))


def grown(seed: int, *, members: int = 6, rounds: int = 12) -> Log:
    """Return a log in which members report in any order, copy whom they like, and fail."""
    draws = stream(seed, "test", 0, 0)
    parents: dict[str, str] = {}
    failed: list[str] = []
    newest: dict[int, str] = {}
    reached = [0] * members
    while any(r < rounds for r in reached):
        m = int(draws.random() * members)
        if reached[m] == rounds:
            continue
        name = str(JobId(m, reached[m]))
        donors = [x for x in newest.values() if x not in failed]
        own = newest.get(m, "")
        copies = donors and (draws.random() < 0.3 or own in failed)
        parent = donors[int(draws.random() * len(donors))] if copies and reached[m] else own
        parents[name] = "" if parent in failed else parent
        if draws.random() < 0.05:
            failed.append(name)
        newest[m], reached[m] = name, reached[m] + 1
    return log_of(parents, failed=failed, rounds=rounds)


# --- edges and nodes -----------------------------------------------------------------------------


def test_every_job_is_a_node_and_every_start_an_edge() -> None:
    tree = tree_of_three()
    assert list(tree.nodes()) == list(THREE)
    edges = [(e.parent, e.child) for e in tree.edges()]
    assert edges == [(parent, child) for child, parent in THREE.items() if parent]
    assert [e.child for e in tree.edges() if e.copied] == ["m1r1", "m2r2"]
    assert len(tree) == 9


def test_children_and_copies_are_counted() -> None:
    tree = tree_of_three()
    counts = {str(id): (int(tree.children[i]), int(tree.copies[i])) for i, id in enumerate(THREE)}
    assert counts["m0r0"] == (2, 1)
    assert counts["m1r1"] == (2, 1)
    assert counts["m1r0"] == counts["m2r1"] == (0, 0)


def test_a_founder_is_where_the_weights_began() -> None:
    tree = tree_of_three()
    assert tree.founder("m2r2") == "m0r0"
    assert tree.founder(JobId(2, 1)) == "m2r0"
    with pytest.raises(ev.UnknownJob, match="m7r7"):
        tree.founder("m7r7")


# --- as of a round -------------------------------------------------------------------------------


def test_living_descendants_are_told_by_round() -> None:
    tree = tree_of_three()
    assert tree.descendants(0) == {"m0r0": 1, "m1r0": 1, "m2r0": 1}
    assert tree.descendants(1) == {"m0r0": 2, "m2r0": 1}
    assert tree.descendants() == tree.descendants(2) == {"m0r0": 3}
    assert list(tree.founders) == [3, 2, 1]
    assert tree.coalesced == 2


def test_the_last_common_ancestor_is_where_all_lines_meet() -> None:
    tree = tree_of_three()
    assert [tree.common_ancestor(r) for r in range(3)] == [None, None, "m0r0"]


def test_failed_jobs_are_not_alive() -> None:
    tree = FamilyTree.of(log_of(THREE, failed=["m1r1"]))
    assert tree.descendants(1) == {"m0r0": 1, "m2r0": 1}
    assert list(tree.living) == [3, 2, 3]


def test_rounds_that_few_have_reached_do_not_count_as_one_founder() -> None:
    running = {"m0r0": "", "m1r0": "", "m2r0": "", "m0r1": "m0r0", "m0r2": "m0r1"}
    tree = FamilyTree.of(log_of(running))
    assert tree.coalesced is None
    assert tree.last_round == 0
    assert tree.descendants() == {"m0r0": 1, "m1r0": 1, "m2r0": 1}


def test_weights_that_began_afresh_later_have_a_founder_of_their_own() -> None:
    tree = FamilyTree.of(log_of({"m0r0": "", "m1r0": "", "m0r1": "", "m1r1": "m1r0"}))
    assert tree.descendants(1) == {"m0r1": 1, "m1r0": 1}


def test_founders_are_those_whose_fresh_weights_are_done() -> None:
    jobs = {"m0r0": "", "m1r0": "", "m2r0": "", "m1r1": "m0r0", "m3r0": ""}
    assert FamilyTree.of(log_of(jobs, failed=["m1r0"])).n_founders == 3


def test_a_round_that_nobody_reached_is_named() -> None:
    with pytest.raises(ev.UnknownJob, match=r"round 7: .*rounds 0 to 2 have been reached"):
        tree_of_three().descendants(7)


def test_a_study_without_jobs_has_an_empty_tree() -> None:
    tree = FamilyTree.of(log_of({}))
    assert (len(tree), tree.rounds, tree.last_round, tree.coalesced) == (0, 0, -1, None)
    assert tree.common_ancestor() is None
    assert branches(tree) == ()
    assert str(tree) == "0 jobs, 0 of them started from a copy"


@pytest.mark.parametrize("seed", range(8))
def test_arrays_say_what_walking_says(seed: int) -> None:
    log = grown(seed)
    tree = FamilyTree.of(log)
    lines = [log.lineage(row) for row in range(len(log))]
    assert [int(line[0]) for line in lines] == list(tree.root)
    assert [len(line) - 1 for line in lines] == list(tree.depth)
    for round_ in range(tree.rounds):
        alive = [r for r in log.rows[:, round_] if r >= 0 and not log.failed[r]]
        shared = set.intersection(*(set(lines[r].tolist()) for r in alive)) if alive else set()
        assert tree.common[round_] == max(shared, default=-1)
        assert tree.founders[round_] == len({lines[r][0] for r in alive})


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_are_the_newest_and_their_ancestors(seed: int) -> None:
    log = grown(seed)
    newest, marked = surviving(FamilyTree.of(log))
    wanted: set[int] = set()
    for member in range(len(log.rows)):
        done = [r for r in log.rows[member] if r >= 0 and not log.failed[r]]
        assert newest[done[-1]]
        wanted |= set(log.lineage(int(done[-1])).tolist())
    assert set(np.flatnonzero(marked).tolist()) == wanted


# --- branches ------------------------------------------------------------------------------------


def test_branches_are_what_runs_straight_on_between_two_forks() -> None:
    [stem] = branches(tree_of_three())
    assert [(b.first, b.last, b.jobs, b.copies, b.members) for _, b in stem.walk()] == [
        ("m0r0", "m0r0", 1, 0, 3),
        ("m1r1", "m1r1", 1, 1, 2),
        ("m1r2", "m1r2", 1, 0, 1),
        ("m2r2", "m2r2", 1, 1, 1),
        ("m0r1", "m0r2", 2, 0, 1),
    ]
    assert [depth for depth, _ in stem.walk()] == [0, 1, 2, 2, 1]


@pytest.mark.parametrize("seed", range(4))
def test_every_member_that_is_left_is_on_one_branch(seed: int) -> None:
    tree = FamilyTree.of(grown(seed))
    stems = branches(tree)
    all_ = [branch for stem in stems for _, branch in stem.walk()]
    assert sum(branch.newest for branch in all_) == sum(stem.members for stem in stems) == 6
    assert sum(branch.jobs for branch in all_) == int(surviving(tree)[1].sum())


# --- the façade ------------------------------------------------------------------------


def test_a_result_gives_lineage_and_tree_of_a_store() -> None:
    crew = Crew(open_store("memory://"), algorithm=ev.PBT(), population=4)
    crew.run()
    result = ev.load_study("digits", store=crew.store).result()
    tree = result.family_tree()
    assert len(tree) == 16
    assert result.lineage("m0r3")[0].round == 0
    assert [job.id for job in result.lineage(JobId(0, 3))][-1] == "m0r3"
    assert tree.founder("m0r3") == result.lineage("m0r3")[0].id
    with pytest.raises(ev.UnknownJob, match="m9r0: it has members 0 to 3"):
        result.lineage("m9r0")


def test_a_round_that_there_is_not_is_named_with_those_there_are() -> None:
    tree = tree_of_three()
    for ask in (tree.common_ancestor, tree.descendants):
        for wrong in (3, -1):
            with pytest.raises(UnknownJob, match=rf"round {wrong}: .*rounds 0 to 2 have been"):
                ask(wrong)


def test_a_study_in_which_all_have_failed_has_a_tree_without_anybody() -> None:
    tree = FamilyTree.of(log_of({"m0r0": "", "m1r0": ""}, failed=["m0r0", "m1r0"]))
    assert str(tree) == "2 jobs, 0 of them started from a copy"
    assert tree.common_ancestor() is None
    assert tree.last_round == -1
    with pytest.raises(UnknownJob, match="no job is done"):
        tree.descendants()
