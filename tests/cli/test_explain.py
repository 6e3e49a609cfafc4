"""explain, lineage, tree."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import evolvent as ev
from evolvent.analysis.lineage.family_tree import tree_lines
from tests import trainables
from tests.cli.commands import evolvent, fine, new_study, trained_study


def bred(name: str = "hill", **changes: Any) -> ev.Study:
    """Return a finished study in which members have copied."""
    settings = {"population": 5, "rounds": 4, "synchronous": True}
    return trained_study(name, **(settings | changes))


def a_copy(study: ev.Study) -> str:
    """Return the id of a job that started from another member's checkpoint."""
    return next(str(job.id) for job in study.jobs("done") if job.donor is not None)


# --- explain -------------------------------------------------------------------------------------


def test_a_copy_is_explained_in_words_and_tables() -> None:
    study = bred(algorithm=ev.PBT(explore=ev.Perturb()))
    job = study.job(a_copy(study))
    text = fine("explain", "hill", job.id)
    lines = text.splitlines()
    assert lines[0] == f"{job.id} of hill: done"
    assert f"It starts from the checkpoint of {job.parent} with its hyperparameters" in text
    assert any(line.split()[:2] == ["rank", "job"] for line in lines)
    assert any(line.split()[:1] == ["lr"] and line.split()[-1] in ("x0.8", "x1.2")
               for line in lines)  # fmt: skip
    assert lines[-1] == "Decided again from the log: the same comes out."


def test_without_names_the_best_job_of_the_newest_study_is_explained() -> None:
    bred("older")
    best = bred("newer").result().best
    assert fine("explain").startswith(f"{best.job.id} of newer: done")
    assert fine("explain", "older").splitlines()[0].endswith(" of older: done")


def test_a_name_that_reads_like_a_job_is_one() -> None:
    bred()
    assert fine("explain", "m2r1").startswith("m2r1 of hill: done")


def test_unchanged_hyperparameters_take_one_line() -> None:
    trained_study(rounds=2, algorithm=ev.RandomSearch())
    text = fine("explain", "m0r1")
    assert "\nTrained with step " in text
    assert "step before" not in text


def test_json_has_everything() -> None:
    study = bred()
    told = json.loads(fine("explain", "hill", a_copy(study), "--json"))
    assert told["agrees"] is True
    assert {r["role"] for r in told["rivals"]} == {"", "copied", "this member"}
    assert [c["name"] for c in told["changes"]] == ["step", "optimizer.lr"]
    assert told["job"]["hyperparameters"]["optimizer"]


def test_piped_sentences_are_not_wrapped() -> None:
    study = bred(synchronous=False)
    lines = fine("explain", a_copy(study)).splitlines()
    assert max(map(len, lines[:3])) > 80


def test_unknown_names_say_what_there_is() -> None:
    bred()
    missing = evolvent("explain", "hill", "m9r9")
    assert missing.exit_code == 3
    assert missing.stderr == (
        "error: study 'hill' has no job m9r9: it has members 0 to 4, rounds 0 to 3\n"
    )
    assert "there is 'hill'" in evolvent("explain", "hull").stderr
    assert "wanted member and round such as 'm3r12'" in evolvent("explain", "hill", "best").stderr
    assert evolvent("explain", "hill", "m0r0", "m0r1").exit_code == 2


def test_a_study_without_a_finished_job_has_no_best_to_explain() -> None:
    new_study()
    assert "no finished job yet" in evolvent("explain").stderr
    assert "Member 0 is one of the 3" in fine("explain", "m0r0")


def test_a_failed_member_is_explained() -> None:
    trained_study(train=trainables.stumble, max_failures=0, rounds=2, algorithm=ev.PBT())
    assert "m1r0 had failed (RuntimeError: a stone on the way)" in fine("explain", "m1r1")
    lines = fine("explain", "m1r0").splitlines()
    assert any(
        line.startswith("Attempt 1 by ") and "(raised at trainables.py:" in line for line in lines
    )
    assert '      raise RuntimeError("a stone on the way")' in lines


# --- lineage -------------------------------------------------------------------------------------


def test_lineage_is_listed_from_round_0_on() -> None:
    study = bred()
    rows = [line.split() for line in fine("lineage").splitlines() if not line.startswith("─")]
    assert rows[0] == ["id", "height", "copied", "step", "lr"]
    assert [row[0] for row in rows[1:]] == [job.id for job in study.result().best.lineage]


def test_lineage_is_listed_for_programs_too() -> None:
    study = bred()
    job = a_copy(study)
    wanted = [str(ancestor.id) for ancestor in study.lineage(job)]
    rows = list(csv.DictReader(io.StringIO(fine("lineage", "hill", job, "--csv"))))
    assert [row["id"] for row in rows] == wanted
    assert float(rows[0]["optimizer.lr"]) > 0
    assert [row["id"] for row in json.loads(fine("lineage", job, "--json"))] == wanted


# --- tree ----------------------------------------------------------------------------------------


def test_tree_draws_the_branches_and_the_variety() -> None:
    study = bred()
    lines = fine("tree").splitlines()
    assert lines[0].startswith("hill  5 members descend from ")
    assert sum("best" in line for line in lines) == 1
    last = [line.split()[:2] for line in lines if line.split()[:1] == ["3"]]
    assert last == [["3", "5"]]
    assert study.result().family_tree().copied.any()


def test_tree_for_programs_says_what_grows_from_what() -> None:
    bred()
    told = json.loads(fine("tree", "--json"))
    ends = {branch["last"] for branch in told["branches"]}
    assert all(b["grows_from"] in ends | {None} for b in told["branches"])
    assert sum(branch["newest"] for branch in told["branches"]) == 5
    assert told["diversity"]["members"] == [5, 5, 5, 5]
    assert set(told["diversity"]["spread"]) == {"step", "optimizer.lr"}


def test_tree_of_many_counts_what_it_does_not_draw() -> None:
    trained_study(population=45, rounds=1, algorithm=ev.RandomSearch())
    assert "+5 more branches: --all draws them" in fine("tree")
    assert "more branches" not in fine("tree", "--all")


def test_tree_of_a_study_without_jobs_is_honest() -> None:
    new_study()
    assert fine("tree") == "hill: no job is done yet\n"


def test_tree_warns_of_copies_that_explore_nothing() -> None:
    trained_study(
        population=4, rounds=12, synchronous=True, algorithm=ev.PBT(ev.CopyBest(), ev.NoExplore())
    )
    text = fine("tree")
    assert "\nwarning: In rounds 6 to 11 all members trained with the same values (step" in text
    assert "nothing is explored any more" in text


def test_lines_of_a_tree_lead_from_stem_to_branch() -> None:
    assert tree_lines([0, 1, 2, 2, 1, 2, 0, 1]) == [
        "", "├─", "│ ├─", "│ └─", "└─", "  └─", "", "└─",
    ]  # fmt: skip
