"""Why a job exists: every rule in its own words, checked against the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.analysis.explain.explain import Explanation, explain
from evolvent.core.algorithms import Algorithm, Replay
from evolvent.core.records import Cause, JobId, JobRecord
from evolvent.core.rng import stream
from evolvent.core.space import Space
from evolvent.store import open_store
from evolvent.store.archive.export import export_study
from tests.contract.crew import INVALID, OVER, RAISED, Crew, Scores

SPACE = Space.of(
    {
        "lr": ev.LogUniform(1e-4, 1.0),
        "momentum": ev.Uniform(0.1, 0.9),
        "units": ev.IntUniform(1, 9),
        "act": ev.Choice(("relu", "gelu", "tanh")),
        "depth": ev.Ordinal((1, 2, 4)),
        "fixed": 3,
    }
)
EXPLORES: list[Any] = [
    ev.Perturb(),
    [ev.Resample(0.25), ev.Perturb(low=0.5, high=2.0)],
    ev.Gaussian(0.3, choices=True),
    ev.Gaussian(0.3, relative_to="width"),
    [ev.Perturb(), {"act": ev.Resample(0.5)}],
    {"lr": ev.Perturb(), "depth": ev.Shift(), "units": [ev.Shift(), ev.Resample(0.5)]},
    ev.NoExplore(),
]
EXPLOITS: list[Any] = [
    ev.Truncation(0.25),
    ev.Truncation(0.5, probability=0.5),
    ev.Truncation(0.5, min_gap=0.2, burn_in=2),
    ev.BinaryTournament(),
    ev.TTest(4, 0.3),
    ev.CopyBest(),
    ev.NoExploit(),
]
FIFTH = ev.PBT(ev.Truncation(0.2), ev.Perturb())


def crew(algorithm: Algorithm | None = None, **changes: Any) -> Crew:
    """Return the workers of a new study whose only hyperparameter is `lr`, 0.1 of all members."""
    population = changes.setdefault("population", 4)
    settings = {
        "algorithm": algorithm if algorithm is not None else FIFTH,
        "space": Space.of({"lr": ev.LogUniform(1e-3, 1.0)}),
        "initial": tuple({"lr": 0.1} for _ in range(population)),
        "max_failures": 0,
    }
    return Crew(open_store("memory://"), **(settings | changes))


def trained(crew: Crew, *rounds: list[float | None]) -> Crew:
    """Let every member report these scores, round by round, by number; None fails."""
    for scores in rounds:
        for member, score in enumerate(scores):
            if score is None:
                crew.fail(crew.claim_of(member))
            else:
                crew.train(score, member)
    return crew


def why(crew: Crew, job: str) -> Explanation:
    """Explain a job, which begins first if it is yet to be decided."""
    open_job = crew.member(JobId.parse(job).member).open
    if open_job is not None and (open_job.id, open_job.cause) == (job, Cause.UNDECIDED):
        crew.claim_of(open_job.member)
    return explain(crew.store, crew.status(), job)


def lucky(seed: int) -> Scores:
    """Return scores that are drawn, with ties; one job in ten fails."""
    draws = stream(seed, "test", 0, 0)
    return lambda _: None if draws.random() < 0.1 else round(draws.random(), 1)


def check(crew: Crew, job: JobRecord, jobs: list[JobRecord]) -> None:
    """Hold an explanation of a job against the log."""
    explanation = why(crew, job.id)
    assert explanation.agrees, str(explanation)
    children = {child.id for child in jobs if child.parent == job.id and child.donor is not None}
    assert set(explanation.copies) == children
    assert {c.name: c.after for c in explanation.changes} in ({}, dict(job.hyperparameters))
    assert all(change.how for change in explanation.changes if change.base != change.after)


# --- every job of any study is explained ---------------------------------------------------------


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("exploit", EXPLOITS, ids=repr)
def test_every_job_is_decided_again_and_the_same_comes_out(exploit: Any, synchronous: bool) -> None:
    for number, copies in enumerate(["both", "weights", "hyperparameters"]):
        explore = EXPLORES[(EXPLOITS.index(exploit) + number) % len(EXPLORES)]
        busy = Crew(
            open_store("memory://"),
            algorithm=ev.PBT(exploit, explore, copies=copies, explore_all=number > 0),  # type: ignore[arg-type]
            space=SPACE, population=4, rounds=5, seed=number, synchronous=synchronous,
            max_failures=0,
        )  # fmt: skip
        busy.run(lucky(number))
        jobs = busy.store.jobs(busy.id)
        assert len(jobs) > 10
        for job in jobs:
            check(busy, job, jobs)


def test_members_that_explore_without_a_copy_are_explained() -> None:
    algorithm = ev.PBT(ev.Truncation(0.25), ev.Perturb(factors=(2.0,)), explore_all=True)
    busy = trained(crew(algorithm, rounds=2, synchronous=True), [0.1, 0.2, 0.3, 0.4])
    busy.run(lucky(1))
    jobs = [job for job in busy.store.jobs(busy.id) if job.round and job.donor is None]
    assert {job.cause for job in jobs} == {Cause.CHANGED}
    said = why(busy, jobs[0].id)
    text = str(said)
    assert "Members that copy nobody explore, too (explore_all)." in text
    assert f"It goes on from its own checkpoint ({jobs[0].parent}) and explores." in text
    assert said.changes[0].how == "x2"
    check(busy, jobs[0], busy.store.jobs(busy.id))


def test_reports_that_overtake_each_other_are_told_apart() -> None:
    busy = crew(population=5, rounds=6, seed=3)
    scores, turns = lucky(1), stream(2, "test", 0, 0)
    held = [busy.claim(f"w{i}") for i in range(3)]
    while held:
        busy.finish(held.pop(int(turns.random() * len(held))), scores)
        more = busy.store.claim(busy.id, worker="w", lease_s=3600)
        held.extend([] if more is None else [more])
    jobs = busy.store.jobs(busy.id)
    assert len(jobs) == 30
    for job in jobs:
        check(busy, job, jobs)


# --- the words -----------------------------------------------------------------------------------


def test_every_synchronous_decision_saw_all_of_the_round_before() -> None:
    busy = crew(ev.PBT(ev.NoExploit()), synchronous=True, rounds=3)
    trained(busy, [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    assert [r.job for r in why(busy, "m0r2").rivals] == ["m3r1", "m2r1", "m1r1", "m0r1"]


def test_a_copy_by_truncation_is_told_with_ranks_scores_and_the_factor() -> None:
    explanation = why(trained(crew(), [0.5, 0.9, 0.7, 0.1]), "m3r1")
    assert explanation.why == (
        "Decided when its round began, against the newest finished job of every member "
        "(asynchronous); the newest of all was m3r0.",
        "Member 3 had accuracy 0.1 after m3r0: rank 4 of 4. "
        "The best was member 1 (m1r0, accuracy 0.9, rank 1).",
        "Truncation(0.2): of 4 members the worst 1 (rank 4) copies one drawn evenly from the best "
        "1 (rank 1).",
        "Rank 4 is among the worst 1: it drew member 1 (m1r0, accuracy 0.9, rank 1).",
        "It starts from the checkpoint of m1r0 with its hyperparameters and explores.",
    )
    assert [(r.rank, r.job, r.value, r.role) for r in explanation.rivals] == [
        (1, "m1r0", 0.9, "copied"),
        (2, "m2r0", 0.7, ""),
        (3, "m0r0", 0.5, ""),
        (4, "m3r0", 0.1, "this member"),
    ]
    [change] = explanation.changes
    assert (change.name, change.before, change.base) == ("lr", 0.1, 0.1)
    assert (change.how, change.after) in (("x1.2", 0.12), ("x0.8", pytest.approx(0.08)))
    assert explanation.after == (
        "It is being trained by w0, attempt 1.",
        "Its weights began as m1r0 and have been trained for 1 round, copied once, as m3r1 from "
        "m1r0.",
    )
    assert "m3r1 of study 'digits': running" in str(explanation)


def test_a_member_that_is_alone_is_told_so() -> None:
    explanation = why(trained(crew(population=1), [0.5]), "m0r1")
    assert "Rank 1 is among the worst 1, but there is nobody else, so it goes on." in (
        explanation.why
    )


def test_a_queued_job_says_that_nothing_is_decided_yet() -> None:
    busy = trained(crew(), [0.5, 0.9, 0.7, 0.1])
    explanation = explain(busy.store, busy.status(), "m3r1")
    assert explanation.why == (
        "Nothing is decided yet: member 3 decides when a worker begins this round, against the "
        "newest finished job of every member then.",
    )
    assert (explanation.agrees, explanation.check, explanation.members) == (None, "", 0)
    assert (explanation.changes, explanation.after) == ((), ("It waits for a worker.",))


def test_a_decision_saw_what_was_there_when_its_round_began() -> None:
    busy = trained(crew(population=3, rounds=4), [0.5, 0.9, 0.1])
    running = busy.claim_of(0)
    busy.train(0.95, member=1)
    explanation = why(busy, "m2r1")
    assert explanation.why[0] == (
        "Decided when its round began, against the newest finished job of every member, the worse "
        "of the last two of those a round ahead (asynchronous); the newest of all was m1r1."
    )
    # Member 1 has gone on: it counts with the score of the same round, and is copied as it is.
    assert [(r.rank, r.job) for r in explanation.rivals] == [(1, "m1r0"), (2, "m0r0"), (3, "m2r0")]
    assert explanation.why[-1] == (
        "It starts from the checkpoint of m1r1, which member 1 had finished since, with its "
        "hyperparameters and explores."
    )
    busy.report(running, 0.3)
    assert why(busy, "m2r1") == explanation


def test_who_has_gone_on_to_a_worse_score_counts_with_that() -> None:
    busy = trained(crew(population=3, rounds=4), [0.5, 0.9, 0.1])
    busy.train(0.2, member=1)
    explanation = why(busy, "m2r1")
    assert "of the last two" not in explanation.why[0]
    assert [(r.rank, r.job) for r in explanation.rivals] == [(1, "m0r0"), (2, "m1r1"), (3, "m2r0")]


def test_who_has_failed_since_counts_as_failed() -> None:
    busy = trained(crew(population=3, rounds=4), [0.5, 0.9, 0.1])
    busy.fail(busy.claim_of(1))
    explanation = why(busy, "m2r1")
    assert [(r.rank, r.job, r.value) for r in explanation.rivals] == [
        (1, "m0r0", 0.5),
        (2, "m2r0", 0.1),
        (3, "m1r1", None),
    ]


def test_who_is_further_ahead_than_a_round_counts_as_it_is() -> None:
    busy = crew(population=2, rounds=4)
    held = busy.claim_of(1)
    for score in (0.1, 0.2, 0.9):
        busy.train(score, member=0)
    busy.report(held, 0.5)
    explanation = why(busy, "m1r1")
    assert "of those a round ahead" not in explanation.why[0]
    assert [(r.rank, r.job) for r in explanation.rivals] == [(1, "m0r2"), (2, "m1r0")]
    assert explanation.why[-1].startswith("It starts from the checkpoint of m0r2 with its")


def test_a_member_that_keeps_its_weights_is_told_why() -> None:
    explanation = why(trained(crew(), [0.5, 0.9, 0.7, 0.1]), "m2r1")
    assert "Rank 2 is not among the worst 1, so it copies nobody." in explanation.why
    assert explanation.why[-1] == (
        "It goes on from its own checkpoint (m2r0) with unchanged hyperparameters."
    )


def test_scores_of_a_study_that_minimises_are_the_metric_itself() -> None:
    explanation = why(trained(crew(mode="min", metric="loss"), [-0.5, -0.2, -0.7, -0.9]), "m3r1")
    assert explanation.why[1] == (
        "Member 3 had loss 0.9 after m3r0: rank 4 of 4. "
        "The best was member 1 (m1r0, loss 0.2, rank 1)."
    )
    assert [rival.value for rival in explanation.rivals] == [0.2, 0.5, 0.7, 0.9]


def test_a_synchronous_decision_saw_the_end_of_the_round() -> None:
    explanation = why(trained(crew(synchronous=True), [0.1, 0.9, 0.7, 0.5]), "m0r1")
    assert explanation.why[0] == (
        "Decided at the end of round 0, for all members at once and against the same snapshot "
        "(synchronous)."
    )
    assert explanation.members == 4
    assert "It starts from the checkpoint of m1r0" in explanation.why[-1]


@pytest.mark.parametrize(
    ("exploit", "scores", "sentence"),
    [
        (
            ev.Truncation(burn_in=2), [0.5, 0.9, 0.7, 0.1],
            "Truncation(0.25) copies nobody in a member's first 2 rounds (burn_in); this was only "
            "its round 0.",
        ),
        (
            ev.Truncation(min_gap=1.0), [0.5, 0.9, 0.7, 0.1],
            "Rank 4 is among the worst 1, but no other is better by at least 1 (min_gap), so it "
            "goes on.",
        ),
        (
            ev.Truncation(probability=0.01), [0.5, 0.9, 0.7, 0.1],
            "Truncation(0.25, probability=0.01): of 4 members the worst 1 (rank 4) copies, with a "
            "probability of 0.01, one drawn evenly from the best 1 (rank 1).",
        ),
        (
            ev.Truncation(probability=0.01), [0.5, 0.9, 0.7, 0.1],
            "Rank 4 is among the worst 1, but it was drawn to go on as it is.",
        ),
        (
            ev.Truncation(), [0.5, 0.5, 0.5, 0.5],
            "Rank 4 is among the worst 1: it drew member 0 (m0r0, accuracy 0.5, rank 1), which is "
            "as good: equal scores rank by member number.",
        ),
        (
            ev.BinaryTournament(), [0.5, 0.9, 0.7, 0.1],
            "BinaryTournament: compares with one other member drawn evenly, and copies it when it "
            "is as good or better.",
        ),
        (ev.BinaryTournament(), [0.1, 0.1, 0.1, 0.9], "which is worse: nothing is copied."),
        (
            ev.BinaryTournament(min_gap=2), [0.5, 0.9, 0.7, 0.1],
            "which is not better by so much: nothing is copied.",
        ),
        (ev.CopyBest(), [0.5, 0.9, 0.7, 0.1], "That is member 1 (m1r0, accuracy 0.9, rank 1)."),
        (
            ev.CopyBest(), [0.5, 0.2, 0.7, 0.9],
            "It is the best itself, and no other is as good.",
        ),
        (
            ev.CopyBest(min_gap=3), [0.5, 0.9, 0.7, 0.1],
            "The best is member 1 (m1r0, accuracy 0.9, rank 1): no other that could be copied is "
            "so much better.",
        ),
        (
            ev.TTest(), [0.5, 0.9, 0.7, 0.1],
            "Two scores on either side are needed; nothing is copied yet.",
        ),
        (
            ev.NoExploit(), [0.5, 0.9, 0.7, 0.1],
            "NoExploit: nobody copies anybody; every member explores after every round.",
        ),
    ],
)  # fmt: skip
def test_every_rule_has_words_of_its_own(exploit: Any, scores: list[float], sentence: str) -> None:
    explanation = why(trained(crew(ev.PBT(exploit)), scores), "m3r1")
    assert explanation.agrees
    assert sentence in " ".join(explanation.why)


def test_random_search_says_that_nobody_was_compared() -> None:
    explanation = why(trained(crew(ev.RandomSearch()), [0.5, 0.9, 0.7, 0.1]), "m3r1")
    assert (
        explanation.why[2] == "RandomSearch: every member keeps the hyperparameters it began with."
    )


def test_an_algorithm_without_words_of_its_own_speaks_through_the_log() -> None:
    replay = Replay.of([(0, {"lr": 0.1}), (1, {"lr": 0.2})])
    explanation = why(trained(crew(replay), [0.5, 0.9, 0.7, 0.1]), "m3r1")
    assert explanation.agrees
    assert explanation.why[2:] == (
        "The log says: replay: segment 2 of 2 of the schedule begins.",
        "It goes on from its own checkpoint (m3r0) with new hyperparameters.",
    )
    assert [(c.before, c.after) for c in explanation.changes] == [(0.1, 0.2)]


def test_a_t_test_tells_windows_means_and_p() -> None:
    """The two rows of ten are a worked example of Welch's test: t = 4.8245, p = 7.35e-5."""
    low = [10, 12, 9, 11, 10, 13, 8, 12, 11, 10]
    high = [13, 14, 12, 15, 13, 12, 14, 16, 13, 14]
    busy = crew(ev.PBT(ev.TTest(10, 0.05, burn_in=9)), population=2, rounds=11)
    explanation = why(trained(busy, *map(list, zip(high, low, strict=True))), "m1r10")
    assert explanation.why[2:5] == (
        "TTest(10, 0.05): draws one other member evenly and copies it when the mean of its last 10 "
        "scores is higher beyond doubt (Welch's test, p below 0.05).",
        "It drew member 0 (m0r9, accuracy 14, rank 1).",
        "Means of accuracy: 13.6 over 10 rounds against its own 10.6 over 10; "
        "p = 7.35e-05 (df = 17.5).",
    )
    assert explanation.why[5] == "p is below 0.05: it is copied."


@pytest.mark.parametrize(
    ("copies", "deed"),
    [
        ("weights", "It starts from the checkpoint of m1r0 and explores with its own values."),
        (
            "hyperparameters",
            "It goes on from its own checkpoint (m3r0) with the hyperparameters of member 1 and "
            "explores.",
        ),
    ],
)
def test_half_a_copy_says_which_half(copies: Any, deed: str) -> None:
    initial = tuple({"lr": lr} for lr in (0.1, 0.2, 0.3, 0.4))
    busy = crew(ev.PBT(copies=copies), initial=initial)
    explanation = why(trained(busy, [0.5, 0.9, 0.7, 0.1]), "m3r1")
    assert explanation.why[-1] == deed
    assert explanation.changes[0].base == {"weights": 0.4, "hyperparameters": 0.2}[copies]


def test_a_value_that_hits_the_bound_is_called_clipped() -> None:
    busy = crew(
        ev.PBT(explore=ev.Perturb(factors=(10, 100))), initial=tuple({"lr": 0.5} for _ in range(4))
    )
    [change] = why(trained(busy, [0.5, 0.9, 0.7, 0.1]), "m3r1").changes
    assert change.clipped
    assert change.how in ("x10, clipped at 1", "x100, clipped at 1")


@pytest.mark.parametrize(
    ("explore", "how", "line"),
    [
        (
            ev.Perturb(factors=(2.0,)),
            "stays with the weights",
            " (the donor's b stays with the weights)",
        ),
        (
            {"lr": ev.Perturb(factors=(2.0,)), "kind": ev.Resample(1.0)},
            "drawn anew",
            " (the donor's b ",
        ),
    ],
)
def test_a_choice_stays_with_the_weights_and_says_so(explore: Any, how: str, line: str) -> None:
    space = Space.of({"lr": ev.LogUniform(1e-3, 1), "kind": ev.Choice(["a", "b"]), "layers": 3})
    initial = tuple({"lr": 0.1, "kind": "b" if i == 1 else "a"} for i in range(4))
    busy = crew(ev.PBT(explore=explore), space=space, initial=initial)
    explanation = why(trained(busy, [0.5, 0.9, 0.7, 0.1]), "m3r1")
    assert explanation.agrees
    assert {c.name: c.how for c in explanation.changes} == {"lr": "x2", "kind": how, "layers": ""}
    assert f"  kind a -> {explanation.changes[1].after}{line}" in str(explanation)


# --- failures ------------------------------------------------------------------------------------


def test_a_failed_member_tells_its_error_and_whom_it_took() -> None:
    explanation = why(trained(crew(), [0.5, 0.9, 0.7, None]), "m3r1")
    assert explanation.why[1:] == (
        "m3r0 had failed (accuracy is nan), so it ranks below all others.",
        "Truncation(0.2): a failed member has nothing to go on from and copies the best, whatever "
        "the limits. It took member 1 (m1r0, accuracy 0.9, rank 1).",
        "It starts from the checkpoint of m1r0 with its hyperparameters and explores.",
    )
    assert explanation.rivals[-1].value is None


def test_a_failed_member_that_waited_says_for_whom() -> None:
    busy = crew()
    busy.fail(busy.claim_of(0), INVALID)
    busy.train(0.5, 1)
    explanation = why(busy, "m0r1")
    assert explanation.agrees
    assert (
        explanation.why[0] == "m0r0 had failed and nobody could be copied until m1r0 was reported."
    )


def test_a_job_tells_its_failed_attempts() -> None:
    busy = crew(max_failures=2)
    busy.fail(busy.claim("w7"), RAISED)
    busy.train(0.5, 0)
    explanation = why(busy, "m0r0")
    assert explanation.after[0] == "Attempt 1 by w7 (raised): ValueError: boom"
    assert explanation.after[1].startswith("It trained to accuracy 0.5 in ")


def test_a_study_that_started_again_says_so() -> None:
    busy = crew(population=2, rounds=5)
    trained(busy, [0.5, 0.4], [None, None])
    busy.fail(busy.claim_of(0))  # it had copied member 1, which was healthy then
    busy.store.resume(busy.id)
    explanation = why(busy, "m0r3")
    assert explanation.why[0] == "All members had failed and the study was resumed by hand."
    assert "this one from the checkpoint of m1r0" in explanation.why[1]


def test_a_damaged_checkpoint_is_told() -> None:
    busy = crew(population=2, rounds=4)
    trained(busy, [0.5, 0.4])
    busy.store.pin(busy.id, JobId(0, 0))
    trained(busy, [0.6, 0.5])
    lease = busy.claim_of(0)
    busy.store.reparent(
        lease, parent=JobId(0, 0), reason="a b is damaged; started from m0r0, the nearest sound "
        "ancestor",
    )  # fmt: skip
    explanation = why(busy, "m0r2")
    assert explanation.agrees
    assert explanation.why[-1] == (
        "The checkpoint that it was to start from was damaged: a b is damaged; started from m0r0, "
        "the nearest sound ancestor."
    )


# --- the beginning, and what people did ----------------------------------------------------------


@pytest.mark.parametrize(
    ("initial", "sentence"),
    [
        ((), "Its hyperparameters were drawn from the space (seed 1)."),
        (({"lr": 0.1, "momentum": 0.5},), "Its hyperparameters were given by hand."),
        (
            ({"lr": 0.1},),
            "By hand came lr; the rest was drawn from the space (seed 1).",
        ),
    ],
)
def test_round_0_tells_where_the_hyperparameters_come_from(initial: Any, sentence: str) -> None:
    explanation = why(Crew(open_store("memory://"), initial=initial), "m0r0")
    assert explanation.why == ("Member 0 is one of the 3 the study began with.", sentence)
    assert explanation.agrees


@pytest.mark.parametrize("values", [{}, {"lr": 0.25}, {"lr": 0.25, "momentum": 0.5}])
def test_a_pushed_member_says_so(values: dict[str, float]) -> None:
    busy = Crew(open_store("memory://"))
    busy.store.push(busy.id, values, by="ada@lab")
    explanation = why(busy, "m3r0")
    assert explanation.why[0] == "Member 3 was pushed by ada@lab when the study was under way."
    assert explanation.agrees


def test_a_member_that_was_pushed_already_trained_says_so_and_agrees(tmp_path: Path) -> None:
    study = ev.create_study(
        "digits", metric="accuracy", mode="max", space={"lr": ev.LogUniform(1e-3, 1.0)},
        population=2, rounds=2, store="memory://",
    )  # fmt: skip
    (tmp_path / "weights").write_text("7")
    job = study.push({"lr": 0.25}, metrics={"accuracy": 0.75}, checkpoint=tmp_path)
    explanation = study.explain(job)
    assert (
        explanation.why[1]
        == "It had been trained elsewhere: model and hyperparameters came by hand."
    )
    assert explanation.after[0] == "It came with accuracy 0.75; round 0 was not trained here."
    assert explanation.agrees
    assert explanation.check == "Begun again from the seed, the same comes out."


def test_more_rounds_asked_for_later_are_told() -> None:
    busy = crew(rounds=1)
    trained(busy, [0.1, 0.9, 0.7, 0.5])
    busy.store.extend(busy.id, rounds=2)
    explanation = why(busy, "m0r1")
    assert explanation.agrees
    assert explanation.why[0].startswith("Decided when its round began")
    assert explanation.members == 4


def test_a_job_that_finished_after_the_study_was_looked_at_is_explained() -> None:
    busy = crew(rounds=2)
    trained(busy, [0.1, 0.9, 0.7, 0.5])
    before = busy.store.status(busy.id)
    trained(busy, [0.2, 0.8, 0.6, 0.4])
    assert explain(busy.store, before, "m3r1") == why(busy, "m3r1")


def test_a_stopped_member_says_that_it_is_over() -> None:
    explanation = why(trained(crew(ev.PBT(ev.NoExploit())), [0.5, 0.9, 0.7, None]), "m3r1")
    assert explanation.agrees
    assert explanation.why[-1] == "So it was stopped."
    assert explanation.after[0] == "It will never be trained: its member was stopped."


# --- what came of it -----------------------------------------------------------------------------


def test_a_job_tells_who_copied_it_and_what_became_of_its_checkpoint() -> None:
    busy = trained(crew(), [0.5, 0.9, 0.7, 0.1], [0.5, 0.95, 0.7, 0.1])
    busy.claim_of(3)
    first, last = why(busy, "m1r0"), why(busy, "m1r1")
    assert (first.copies, first.checkpoint) == ((), "collected")
    assert (last.copies, last.checkpoint) == (("m3r1", "m3r2"), "kept")
    assert "Its own member went on from it (m1r1)." in first.after
    assert last.after[0].startswith("It trained from accuracy 0.9 to 0.95 (0.05 better) in ")
    busy.store.pin(busy.id, JobId(1, 1))
    assert why(busy, "m1r1").checkpoint == "pinned"


def test_a_checkpoint_that_did_not_come_along_is_said_not_to_be_here(tmp_path: Path) -> None:
    busy = trained(crew(), [0.5, 0.9, 0.7, 0.1], [0.5, 0.95, 0.7, 0.1])
    export_study(busy.store, busy.id, tmp_path / "study.zip", checkpoints="best")
    study = ev.import_study(tmp_path / "study.zip", store="memory://")
    newest, best, older = map(study.explain, ("m2r1", "m1r1", "m2r0"))
    states = [explanation.checkpoint for explanation in (newest, best, older)]
    assert states == ["missing", "kept", "collected"]
    assert newest.after[-1] == "Its checkpoint is not here."


def test_a_member_that_was_overwritten_did_not_go_on() -> None:
    explanation = why(trained(crew(), [0.5, 0.9, 0.7, 0.1], [0.5, 0.9, 0.7, 0.1]), "m3r0")
    assert "Its own member did not go on from it (m3r1)." in explanation.after


def test_a_running_job_says_who_trains_it() -> None:
    busy = crew()
    busy.claim("gpu-3")
    assert why(busy, "m0r0").after == ("It is being trained by gpu-3, attempt 1.",)


def test_of_many_members_only_those_that_matter_are_listed() -> None:
    busy = crew(ev.PBT(ev.BinaryTournament()), population=40)
    explanation = why(trained(busy, [i / 100 for i in range(40)]), "m20r1")
    assert explanation.members == 40
    assert len(explanation.rivals) <= 8
    ranks = [rival.rank for rival in explanation.rivals]
    assert ranks == sorted(ranks)
    assert {1, 2, 3, 40} <= set(ranks)


# --- honesty -------------------------------------------------------------------------------------


def test_an_outcome_that_does_not_match_the_log_is_said_plainly() -> None:
    busy = trained(crew(), [0.5, 0.9, 0.7, 0.1])
    busy.claim_of(3)
    busy.store.use_algorithm(busy.id, ev.PBT(ev.NoExploit(), ev.NoExplore()))
    explanation = why(busy, "m3r1")
    assert explanation.agrees is False
    assert explanation.check.startswith("Decided again from the log, something else comes out")
    assert any(
        sentence.startswith("The log says: score 0.1 ranks 4 of 4") for sentence in explanation.why
    )
    assert explanation.changes[0].how == ""


def test_a_function_that_is_not_to_be_had_is_said_plainly() -> None:
    busy = trained(crew(), [0.5, 0.9, 0.7, 0.1])
    busy.claim_of(3)
    missing = ev.CustomExplore("no_such_module:step")
    busy.store.use_algorithm(busy.id, ev.PBT(explore=missing))
    explanation = why(busy, "m3r1")
    assert explanation.agrees is None
    assert explanation.check.startswith(
        "It cannot be decided again here: CustomExplore.fn: cannot import"
    )


def double(values: dict[str, Any], rng: Any) -> dict[str, Any]:
    return {"lr": values["lr"] * 2}


def test_a_function_of_the_users_own_is_named() -> None:
    busy = crew(ev.PBT(explore=ev.CustomExplore(double)))
    [change] = why(trained(busy, [0.5, 0.9, 0.7, 0.1]), "m3r1").changes
    assert (change.after, change.how) == (0.2, "set by double")


# --- the façade and bad input --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("m9r0", "study 'digits' has no job m9r0: it has members 0 to 3, rounds 0 to 3"),
        ("m2r3", "study 'digits' has no job m2r3: member 2 has rounds 0 to 1 of 4 so far"),
        (3, "job: got 3, wanted member and round such as 'm3r12'"),
        ("best", "job: got 'best', wanted member and round such as 'm3r12'"),
    ],
)
def test_an_unknown_job_says_which_there_are(job: Any, message: str) -> None:
    busy = trained(crew(), [0.5, 0.9, 0.7, 0.1])
    with pytest.raises(ev.UnknownJob) as error:
        explain(busy.store, busy.status(), job)
    assert str(error.value) == message


def test_study_and_result_explain_and_nest_the_hyperparameters() -> None:
    study = ev.create_study(
        "hill", metric="height", mode="max", space={"a": {"step": ev.Uniform(0.1, 1)}},
        population=2, rounds=2, store="memory://",
    )  # fmt: skip
    job = study.result().explain(JobId(0, 0)).job
    assert job == study.explain("m0r0").job
    assert list(job.hyperparameters) == ["a"]


def test_a_job_whose_worker_is_lost_says_so_and_what_comes_next() -> None:
    busy = crew()
    busy.claim("w1", lease_s=-150.0)
    said = "It is at attempt 1, but worker w1 was lost 2 min ago; the job will be given"
    assert why(busy, "m0r0").after[0] == f"{said} to the next worker that asks."
    busy.store.stop(busy.id, reason="enough")
    resumed = f"{said} once the study is resumed to the next worker that asks."
    assert why(busy, "m0r0").after[0] == resumed


def test_a_lease_that_ran_out_counts_as_a_failed_attempt() -> None:
    busy = crew()
    busy.claim("w1", lease_s=OVER)
    busy.train(0.5, 0)
    assert why(busy, "m0r0").after[0].startswith("Attempt 1 by w1 (lost): no sign of life")


def test_a_failed_attempt_is_told_once() -> None:
    def fail(job: ev.Job) -> dict[str, float]:
        raise ValueError("boom")

    study = ev.create_study(
        "fails", metric="q", mode="max", population=1, rounds=1, max_failures=0,
        space={"x": ev.Uniform(1, 2)}, store="memory://",
    )  # fmt: skip
    with pytest.raises(ev.AllMembersFailed):
        study.run(fail, workers=0, progress=False)
    assert sum("boom" in sentence for sentence in study.explain("m0r0").after) == 1
