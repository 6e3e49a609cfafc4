"""What a study has come to: files of its jobs, notebook views, studies of other processes."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.analysis.schedule.segments import Segment
from evolvent.core.space import Space
from evolvent.result import Result
from evolvent.store.records import Failure, FailureKind, Report
from evolvent.study import Study
from tests.contract.crew import INVALID, Crew
from tests.needs import needs

ODD = '<script>alert("&")</script>'


def crew(**changes: Any) -> Crew:
    return Crew(ev.open_store("memory://"), **changes)


def result(crew: Crew) -> Result:
    return Result(crew.status(), crew.store)


def reported() -> Crew:
    """One job done, with a loss that is no number; one failed; two open."""
    made = crew(population=2, rounds=2)
    lease = made.claim_of(0)
    metrics = {"accuracy": 0.1 + 0.2, "loss": math.nan}
    report = Report(0.1 + 0.2, metrics, made.save())
    made.store.report(lease, report)
    made.saved.add(report.checkpoint)
    made.fail(made.claim_of(1), INVALID)
    return made


# --- files -------------------------------------------------------------------------------------


def test_csv_has_a_line_for_every_job_and_numbers_bit_for_bit(tmp_path: Path):
    made = reported()
    path = result(made).to_csv(tmp_path / "jobs.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    jobs = made.store.jobs(made.id)
    assert [row["id"] for row in rows] == [job.id for job in jobs]
    assert float(rows[0]["score"]) == 0.1 + 0.2
    assert [float(row["lr"]) for row in rows] == [job.hyperparameters["lr"] for job in jobs]
    assert (rows[0]["loss"], rows[1]["loss"], rows[1]["score"]) == ("nan", "", "")
    assert (rows[0]["started_at"][:2], rows[0]["started_at"][-1]) == ("20", "Z")
    assert rows[2]["finished_at"] == ""


def test_json_is_strict_and_has_an_object_for_every_job(tmp_path: Path):
    made = reported()
    path = result(made).to_json(tmp_path / "jobs.json")
    rows = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert [row["id"] for row in rows] == [job.id for job in made.store.jobs(made.id)]
    assert (rows[0]["score"], rows[0]["loss"], rows[0]["donor"]) == (0.1 + 0.2, None, None)
    assert (rows[1]["state"], rows[1]["score"], rows[1]["error"]) == (
        "failed",
        None,
        "accuracy is nan",
    )


def test_a_file_of_many_jobs_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = reported()
    once = result(made).to_json(tmp_path / "jobs.json").read_text()
    monkeypatch.setattr("evolvent.analysis.tables.files._ROWS", 1)
    assert result(made).to_json(tmp_path / "jobs.json").read_text() == once


def test_parquet_keeps_types_and_gaps(tmp_path: Path):
    parquet = needs("pyarrow.parquet")
    path = result(reported()).to_parquet(tmp_path / "jobs.parquet")
    table = parquet.read_table(path)
    assert table["id"].to_pylist() == ["m0r0", "m1r0", "m0r1", "m1r1"]
    assert table["score"].to_pylist() == [0.1 + 0.2, None, None, None]
    assert math.isnan(table["loss"].to_pylist()[0])
    assert table["state"].to_pylist() == ["done", "failed", "queued", "cancelled"]
    assert {name: str(table.schema.field(name).type) for name in ("member", "started_at")} == {
        "member": "int64",
        "started_at": "timestamp[us, tz=UTC]",
    }


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_what_was_there_stays_when_a_file_cannot_be_written(tmp_path: Path, form: str):
    if form == "parquet":
        needs("pyarrow")
    target = tmp_path / f"jobs.{form}"
    target.mkdir()  # a directory cannot be replaced by a file
    with pytest.raises(ev.EvolventError, match=rf"cannot write .*jobs\.{form}"):
        getattr(result(reported()), f"to_{form}")(target)
    with pytest.raises(ev.EvolventError, match="cannot write"):
        getattr(result(reported()), f"to_{form}")(tmp_path / "nowhere" / "jobs")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_pipe_that_nobody_reads_any_more_stays(tmp_path: Path, form: str):
    if form == "parquet":
        needs("pyarrow")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_RDONLY)))
    reading.start()
    with contextlib.suppress(ev.EvolventError):  # unless all was written before it was closed
        getattr(result(reported()), f"to_{form}")(pipe)
    reading.join(30)
    assert pipe.is_fifo()


def test_nothing_is_left_behind_when_reading_fails_half_way(tmp_path: Path):
    made = reported()
    (tmp_path / "jobs.csv").write_text("what was there")
    told = result(made)
    made.store.delete_study(made.id)
    with pytest.raises(ev.UnknownStudy):
        told.to_csv(tmp_path / "jobs.csv")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there"]


# --- a study of another process ----------------------------------------------------------------


def test_a_study_of_another_process_can_be_read_while_it_runs(tmp_path: Path):
    pandas = needs("pandas")
    url = f"sqlite:///{tmp_path}/e.db"
    program = f"""
        import evolvent as ev
        study = ev.create_study(
            "theirs", metric="x", mode="min", space={{"a": ev.Uniform(0, 1)}}, population=2,
            rounds=3, store={url!r}, durability="process",
        )
        job = study.next_job()
        with job:
            (job.directory / "weights").write_text("0")
            job.metrics = {{"x": 2.0}}
        study.next_job()  # and dies with it
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    theirs = ev.load_study("theirs", store=url).result()
    frame = theirs.jobs()
    assert Counter(frame["state"]) == {"done": 1, "queued": 1, "running": 1}
    assert (frame["x"][0], frame["score"][0]) == (2.0, -2.0)
    assert theirs.best.value == 2.0
    assert (theirs.best.checkpoint / "weights").read_text() == "0"
    assert isinstance(frame, pandas.DataFrame)


# --- notebooks ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """Rows of the tables in a page, its text, and whether every tag was closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_study_in_a_notebook_shows_its_members_the_best_first():
    made = crew(population=3, rounds=2)
    made.train(0.25, member=0)
    made.train(0.75, member=1)
    made.fail(made.claim_of(2), INVALID)
    page = Page(Study(made.store, made.id)._repr_html_())
    members = page.rows[-4:]
    assert members[0] == ["member", "round", "state", "accuracy", "lr", "momentum", "copied"]
    assert [row[:4] for row in members[1:]] == [
        ["1", "1", "queued", "0.75"],
        ["0", "1", "queued", "0.25"],
        ["2", "0", "failed", "-"],
    ]
    assert ["jobs", "3 of 6 finished, 1 of them failed, 2 queued, 1 cancelled"] in page.rows


def test_a_study_in_a_notebook_says_whose_worker_is_lost():
    made = crew(population=2, rounds=2)
    made.claim("w0")
    made.claim("w1", lease_s=-1.0)
    page = Page(Study(made.store, made.id)._repr_html_())
    assert sorted(row[2] for row in page.rows[-2:]) == ["lost", "running"]
    assert ["jobs", "0 of 4 finished, 2 running (1 lost)"] in page.rows


def test_a_result_in_a_notebook_shows_the_best_and_its_schedule():
    made = crew(population=1, rounds=2)
    made.train(0.25)
    made.train(0.75)
    page = Page(result(made)._repr_html_())
    assert ["best accuracy", "0.75 (m0r1)"] in page.rows
    assert [row[0] for row in page.rows[-2:]] == ["rounds", "0-1"]
    best = Page(result(made).best._repr_html_())
    assert best.text.startswith("Best: m0r1 0.75")
    assert best.rows[-2:] == page.rows[-2:]


def test_a_best_by_a_mean_has_its_own_value_and_the_mean():
    made = crew(population=1, rounds=9, best="mean of 3", mode="min")
    for score in (-1.0, -0.5, -0.25, -1.5):
        made.train(score)
    found = result(made)
    best = found.best
    assert (best.job.id, best.value, best.score) == ("m0r2", 0.25, -0.25)
    assert (best.mean, best.n_scores) == (1.75 / 3, 3)
    assert repr(found).endswith(", best accuracy 0.583333, mean of the last 3>")
    assert (
        str(found).splitlines()[1].startswith("best accuracy 0.583333, mean of the last 3 (m0r2)")
    )
    assert repr(best) == "<Best: m0r2, accuracy 0.25 (mean of the last 3: 0.583333)>"
    assert ["best accuracy", "0.58333, mean of the last 3 (m0r2)"] in Page(found._repr_html_()).rows
    shown = Page(best._repr_html_()).text
    assert shown.startswith("Best: m0r2 0.25 (mean of the last 3: 0.583333)")


def test_a_best_by_its_score_has_no_mean():
    made = crew(population=1, rounds=2)
    made.train(0.75)
    best = result(made).best
    assert (best.value, best.mean, best.n_scores) == (0.75, None, 1)


def test_a_result_without_a_finished_job_has_a_view_too():
    page = Page(result(crew())._repr_html_())
    assert ["jobs", "0 of 12 finished, 3 queued"] in page.rows


def test_what_is_printed_of_a_result_is_short():
    made = crew(population=2, rounds=2)
    assert str(result(made)) == "study digits: open, 0 of 4 jobs"
    made.train(0.25, member=0)
    made.fail(made.claim_of(1), INVALID)
    found = result(made)
    assert str(found).splitlines() == [
        "study digits: open, 2 of 4 jobs, 1 of them failed",
        "best accuracy 0.25 (m0r0): see `result.best`",
    ]
    lines = str(found.best).splitlines()
    assert lines[0] == "m0r0: accuracy 0.25"
    assert lines[1].startswith("hyperparameters  lr ")
    assert lines[2:] == [
        "schedule         1 round unchanged",
        f"checkpoint       {found.best.checkpoint}",
    ]
    assert repr(found.best) == "<Best: m0r0, accuracy 0.25>"
    assert repr(found.explain("m1r0")) == "<Explanation of m1r0 of study 'digits': failed>"
    assert repr(found.family_tree()) == "<FamilyTree of 'digits': 2 jobs, 0 of them copies>"
    assert max(len(repr(x)) for x in (found, found.best, found.diversity())) < 80


def test_an_explanation_in_a_notebook_says_what_its_text_says():
    made = crew(population=2, rounds=2)
    made.train(0.25, member=0)
    made.fail(made.claim_of(1), Failure(FailureKind.INVALID, "no", 'File "<x>", line 1\nno'))
    explained = result(made).explain("m1r0")
    page = Page(explained._repr_html_())
    for sentence in (*explained.why, *explained.after, *explained.error_lines, explained.check):
        assert sentence in page.text
    made.train(0.5, member=0)
    page = Page(result(made).explain("m1r1")._repr_html_())
    assert ["2", "m1r0", "failed", "this member"] in page.rows
    assert "lr" in [row[0] for row in page.rows]


def test_a_family_tree_in_a_notebook_has_its_branches():
    made = crew(population=3, rounds=2)
    for _ in range(6):
        made.train(0.5)
    tree = result(made).family_tree()
    page = Page(tree._repr_html_())
    assert page.text.startswith("Family tree of digits 3 members descend from ")
    assert page.rows[0] == ["", "jobs", "copies", "members", "accuracy"]
    assert sum(int(row[1]) for row in page.rows[1:]) == len(tree)
    empty = Page(result(crew()).family_tree()._repr_html_())
    assert "no job is done yet" in empty.text


def test_names_and_values_cannot_put_anything_into_a_page():
    space = Space.of({ODD: ev.Choice([ODD]), "lr": 0.5})
    made = crew(name=ODD, metric=ODD, space=space, population=1, rounds=1)
    made.train(0.5)
    made.store.stop(made.id, reason=ODD)
    views = (
        Study(made.store, made.id)._repr_html_(),
        result(made)._repr_html_(),
        result(made).best._repr_html_(),
        result(made).explain("m0r0")._repr_html_(),
        result(made).family_tree()._repr_html_(),
    )
    for html in views:
        assert "<script" not in html
        assert ODD in Page(html).text


def test_large_populations_and_long_schedules_are_cut_and_counted():
    made = crew(population=50, rounds=60)
    for _ in range(50):
        made.train(0.5)
    page = Page(Study(made.store, made.id)._repr_html_())
    assert "30 more members" in page.text
    segments = [Segment(round_, 1, {"lr": float(round_)}, 0) for round_ in range(60)]
    table = Page(ev.Schedule(tuple(segments))._repr_html_())
    assert len(table.rows) == 22
    assert "40 segments between them are not shown" in table.text
    assert [row[0] for row in table.rows[10:13]] == ["9", "…", "50"]
