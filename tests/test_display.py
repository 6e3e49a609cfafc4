"""What a study looks like in a terminal, and what is printed when there is none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Uniform
from evolvent.core.explore import CustomExplore, Perturb
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.display.failures import FailuresObserver
from evolvent.display.lost import lost_lines
from evolvent.display.progress import Progress, progress_line
from evolvent.display.table import study_table
from evolvent.display.words import compact, duration, settings, size
from evolvent.engines.observer import Observer
from evolvent.errors import StoreBusy
from evolvent.store.records import MemberView, StudyState, StudyStatus
from evolvent.studies import create_study
from evolvent.study import Study
from tests import trainables

DONE, FAILED, QUEUED, RUNNING = (
    JobState.DONE, JobState.FAILED, JobState.QUEUED, JobState.RUNNING,
)  # fmt: skip


def test_a_strategy_is_shown_as_the_call_that_makes_it() -> None:
    algorithm = PBT(explore=[Perturb(factors=(0.5, 2)), CustomExplore("pkg.mod:step")])
    shown = "PBT(explore=Chain((Perturb(factors=(0.5, 2)), CustomExplore('pkg.mod:step'))))"
    assert settings(algorithm) == shown


def status(  # noqa: PLR0913 - a builder: one keyword a wish
    *,
    names: Sequence[str] = ("lr",),
    members: int = 3,
    rounds: int = 20,
    done: int = 0,
    best: JobId | None = None,
    best_score: float | None = None,
    mode: str = "max",
    state: StudyState = StudyState.OPEN,
) -> StudyStatus:
    record = StudyRecord(
        name="digits",
        metric="accuracy",
        mode=mode,  # type: ignore[arg-type]  # a literal, passed on
        space=Space({name: Uniform(0.0, 1.0) for name in names}),
        algorithm=PBT(),
        population=members,
        rounds=rounds,
    )
    return StudyStatus(
        id=1, record=record, state=state, counts={DONE: done}, members=members, best=best,
        best_score=best_score, stopped=None, created_at=0.0, started_at=None, changed_at=None,
    )  # fmt: skip


def member(
    number: int,
    score: float | None = None,
    *,
    round: int = 4,
    values: dict[str, Any] | None = None,
    parent: JobId | None = None,
    ended: bool = False,
) -> MemberView:
    """A member that has finished `round` (failed without a score) and is queued for the next."""
    values = {"lr": 0.1} if values is None else values
    state = FAILED if score is None else DONE
    newest = JobRecord(number, round, state, values, parent=JobId(number, round - 1), score=score)
    own = JobId(number, round)
    following = JobRecord(number, round + 1, QUEUED, values, parent=parent or own)
    return MemberView(newest, None if ended else following)


def text_of(renderable: object, *, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def piped(clock: Clock) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, width=80), clock=clock), out


def in_terminal(clock: Clock, *, height: int = 24) -> tuple[Progress, Screen]:
    out = Screen()
    console = Console(file=out, width=80, height=height, force_terminal=True, _environ={})
    return Progress(console, clock=clock), out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (0.5, "0.500"),
        (0.0, "0"),
        (1.0, "1.00"),
        (123.4, "123"),
        (12345.6, "12346"),
        (1.25e7, "1.25e7"),
        (0.00001234, "1.23e-5"),
        (-0.25, "-0.250"),
        (float("nan"), "-"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (None, "-"),
        (True, "true"),
        (128, "128"),
        (2**53 + 1, "9.01e15"),
        ("relu", "relu"),
        ("a name without end", "a name withou…"),
    ],
)
def test_values_are_shown_in_few_characters(value: Any, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (12, "12 s"), (75, "1 min 15 s"), (3700, "1 h 01 min"), (90000, "1 d 1 h")],
)
def test_spans_of_time_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("n", "text"), [(0, "0 B"), (999, "999 B"), (1_500_000, "1.5 MB")])
def test_sizes_are_shown_in_the_unit_that_fits(n: int, text: str) -> None:
    assert size(n) == text


def test_table_shows_members_by_number_with_what_they_copied() -> None:
    views = [member(1, 0.25, parent=JobId(0, 3)), member(0, 0.75)]
    lines = text_of(study_table(status(), views, width=80))
    assert lines[0].split() == ["member", "round", "state", "accuracy", "lr", "copied"]
    assert lines[2].split() == ["0", "5/20", "queued", "0.7500", "0.100"]
    assert lines[3].split() == ["1", "5/20", "queued", "0.2500", "0.100", "<-", "m0r3"]


def test_table_of_a_study_that_minimises_shows_the_metric_as_it_was_reported() -> None:
    lines = text_of(study_table(status(mode="min"), [member(0, -0.5)], width=80))
    assert "0.5000" in lines[2].split()


def test_member_with_the_best_score_stands_out() -> None:
    table = study_table(status(), [member(0, 0.25), member(1, 0.75), member(2, None)], width=80)
    assert [row.style for row in table.rows] == ["", "bold green", ""]


def test_failed_member_is_marked_and_never_the_best() -> None:
    table = study_table(status(), [member(0, None)], width=80)
    assert [row.style for row in table.rows] == [""]
    assert "failed" in text_of(table)[2].split()


def test_member_without_an_open_job_waits_until_its_rounds_are_done() -> None:
    views = [member(0, 0.5, ended=True), member(1, 0.5, round=19, ended=True)]
    lines = text_of(study_table(status(), views, width=80))
    assert lines[2].split()[1:3] == ["5/20", "waiting"]
    assert lines[3].split()[1:3] == ["20/20", "ended"]


def test_member_that_has_not_begun_has_no_score() -> None:
    view = MemberView(None, JobRecord(0, 0, RUNNING, {"lr": 0.5}))
    assert text_of(study_table(status(), [view], width=80))[2].split()[:4] == [
        "0", "0/20", "running", "-",
    ]  # fmt: skip


def test_nested_names_are_shortened_where_that_is_clear() -> None:
    names = ("optimizer.lr", "encoder.width", "decoder.width")
    values = {"optimizer.lr": 0.1, "encoder.width": 1.0, "decoder.width": 2.0}
    views = [member(0, 0.5, values=values)]
    title = text_of(study_table(status(names=names), views, width=120), width=120)[0]
    assert title.split()[4:7] == ["lr", "encoder.width", "decoder.width"]


@pytest.mark.parametrize("width", [64, 80, 120])
def test_hyperparameters_that_do_not_fit_are_counted(width: int) -> None:
    names = [f"momentum{i}" for i in range(12)]
    views = [member(0, 0.5, values=dict.fromkeys(names, 0.5))]
    lines = text_of(study_table(status(names=names), views, width=width), width=200)
    shown = lines[0].count("momentum")
    assert 0 < shown < 12
    assert f"+{12 - shown} more" in lines[0]
    assert max(map(cell_len, lines)) <= width
    assert "…" not in lines[0]


def test_hyperparameters_that_are_equal_for_all_are_cut_first() -> None:
    names = [f"same{i}" for i in range(12)] + ["lr"]
    views = [member(i, 0.5, values={**dict.fromkeys(names, 0.5), "lr": i / 10}) for i in range(2)]
    assert "lr" in text_of(study_table(status(names=names), views, width=80))[0].split()


def test_terminal_too_narrow_for_any_hyperparameter_counts_them_all() -> None:
    views = [member(0, 0.5, values={"lr": 0.1, "momentum": 0.9})]
    table = study_table(status(names=("lr", "momentum")), views, width=10)
    assert text_of(table)[0].split()[4:] == ["+2", "more", "copied"]


def test_members_that_do_not_fit_are_counted_and_the_best_are_shown() -> None:
    views = [*(member(i, i / 100) for i in range(50)), member(50, None)]
    lines = text_of(study_table(status(members=51), views, width=80, height=8))
    assert len(lines) == 8
    assert [line.split()[0] for line in lines[2:7]] == ["49", "48", "47", "46", "45"]
    assert lines[7] == "+46 more members"


def test_piped_run_prints_a_line_for_each_finished_round() -> None:
    clock = Clock()
    progress, out = piped(clock)
    progress.start(status())
    for done in range(1, 8):
        clock.now += 2.0
        now = status(done=done, best=JobId(2, 0), best_score=0.97)
        progress.update(now, lambda: pytest.fail("nobody looks at the members"))
    progress.finish(status(done=7, best=JobId(2, 0), best_score=0.97), "stopped after 7 jobs")
    assert out.getvalue().splitlines() == [
        "digits  maximise accuracy  3 members, 20 rounds",
        "round 1/20  best accuracy 0.9700 (member 2)  eta 1 min 54 s",
        "round 2/20  best accuracy 0.9700 (member 2)  eta 1 min 48 s",
        "stopped after 7 jobs  best accuracy 0.9700 (member 2)",
    ]


def test_piped_run_with_slow_rounds_prints_a_line_now_and_then() -> None:
    clock = Clock()
    progress, out = piped(clock)
    progress.start(status(members=100))
    for done in (1, 2, 2):
        clock.now += 11.0
        progress.update(status(members=100, done=done), list)
    assert [line.split("  ")[0] for line in out.getvalue().splitlines()[1:]] == ["round 0/20"] * 2


def test_piped_run_with_quick_rounds_prints_at_most_a_line_a_second() -> None:
    clock = Clock()
    progress, out = piped(clock)
    progress.start(status(members=1, rounds=100))
    for done in range(1, 31):
        clock.now += 0.125
        progress.update(status(members=1, rounds=100, done=done), list)
    assert len(out.getvalue().splitlines()) == 1 + 3


def test_lines_of_workers_lose_their_control_characters_when_piped() -> None:
    progress, out = piped(Clock())
    progress.line("worker 0 | \x1b[31mred\x1b[0m [bold]")
    progress.line("\r 10%\r 20%")
    assert out.getvalue() == "worker 0 | red [bold]\n 20%\n"


def test_terminal_shows_the_table_and_gives_the_cursor_back() -> None:
    progress, out = in_terminal(Clock())
    progress.start(status())
    progress.update(status(done=6), lambda: [member(0, 0.5)])
    progress.line("worker 1 | hello")
    progress.finish(status(done=6), "finished after 60 jobs")
    shown = out.getvalue()
    assert "5/20" in shown
    assert "worker 1 | hello" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert shown.rstrip().endswith("finished after 60 jobs")


def test_terminal_is_given_back_after_an_error_too() -> None:
    progress, out = in_terminal(Clock())
    progress.start(status())
    progress.close()
    progress.close()
    assert "\x1b[?25h" in out.getvalue()


def test_reading_all_members_takes_a_small_share_of_the_time() -> None:
    clock = Clock()
    progress, _ = in_terminal(clock)
    reads = 0

    def slow_members() -> list[MemberView]:
        nonlocal reads
        reads += 1
        clock.now += 0.5
        return [member(0, 0.5)]

    progress.start(status())
    for _ in range(120):
        clock.now += 0.25
        progress.update(status(), slow_members)
    assert reads == 2


def test_table_stays_as_it_was_while_the_store_is_away() -> None:
    clock = Clock()
    progress, out = in_terminal(clock)

    def away() -> list[MemberView]:
        raise StoreBusy("it stayed locked by another program")

    progress.start(status())
    progress.update(status(), away)  # before it was ever read
    progress.update(status(done=3), lambda: [member(0, 0.125)])
    shown = len(out.getvalue())
    clock.now = 3600.0
    progress.update(status(done=4), away)
    assert "0.1250" in out.getvalue()[shown:]
    progress.finish(status(done=5), "finished after 5 jobs")
    assert out.getvalue().rstrip().endswith("finished after 5 jobs")


def test_who_has_waited_long_for_the_store_is_shown_the_members_again_within_a_minute() -> None:
    clock, reads = Clock(), []

    def locked_members() -> list[MemberView]:
        reads.append(clock.now)
        clock.now += 30.0
        return [member(0, 0.5)]

    progress, _ = in_terminal(clock)
    progress.start(status())
    progress.update(status(), locked_members)
    clock.now += 60.0
    progress.update(status(), locked_members)
    assert reads == [0.0, 90.0]


def test_nothing_overflows_a_small_terminal() -> None:
    clock = Clock()
    progress, out = in_terminal(clock, height=10)
    progress.start(status(members=64))
    progress.update(status(members=64, done=100), lambda: [member(i, 0.5) for i in range(64)])
    progress.close()
    frames = out.getvalue().split("\n", 1)[1]
    assert frames.count("\n") / frames.count("100/1280 jobs") < 10
    assert "+61 more members" in frames


def test_best_by_a_mean_is_told_as_such() -> None:
    there = status(best=JobId(1, 4), best_score=0.25)
    assert progress_line(there).endswith("  best accuracy 0.2500 (member 1)")
    there = replace(there, record=replace(there.record, best="mean of 3"), best_scores=2)
    assert progress_line(there).endswith("  best accuracy 0.2500, mean of the last 2 (member 1)")
    there = replace(there, best_scores=1)
    assert progress_line(there).endswith("  best accuracy 0.2500, one score (member 1)")


def lost_member(number: int, *, lease_until: float) -> MemberView:
    running = JobRecord(
        number, 5, JobState.RUNNING, {"lr": 0.1}, worker=f"w{number}", lease_until=lease_until
    )
    return MemberView(member(number, 0.5).newest, running)


def test_lost_workers_are_told_by_the_clock_of_the_store() -> None:
    there = replace(status(), lost=1, read_at=1000.0)
    views = [lost_member(0, lease_until=1000.5), lost_member(1, lease_until=900.0), member(2, 0.5)]
    table = text_of(study_table(there, views, width=100), width=100)
    assert [line.split()[2] for line in table[2:]] == ["running", "lost", "queued"]
    assert " 1 lost" in progress_line(there)
    (line,) = lost_lines(there, [view.open for view in views if view.open is not None])
    given = "the job will be given to the next worker that asks"
    assert line == f"m1r5: worker w1 was lost 1 min ago; {given}"
    older_service = replace(there, read_at=None, lost=0)
    assert lost_lines(older_service, [view.open for view in views if view.open is not None]) == []


def test_of_many_lost_workers_the_newest_are_told_and_the_rest_counted() -> None:
    there = replace(status(), lost=5, read_at=1e6)
    views = [lost_member(n, lease_until=1e6 - 4000.0 * (n + 1)) for n in range(5)]
    lines = lost_lines(there, [view.open for view in views if view.open is not None])
    assert [line[:4] for line in lines[:3]] == ["m0r5", "m1r5", "m2r5"]
    assert " lost 1 h ago; " in lines[0]
    assert lines[3:] == ["and 2 more"]


def test_members_that_were_read_a_while_ago_are_not_shown_as_lost_by_that() -> None:
    clock = Clock()
    progress, out = in_terminal(clock)
    progress.start(status())

    def slowly() -> list[MemberView]:
        clock.now += 1.0  # so that they are not read again for a while
        return [lost_member(0, lease_until=1010.0)]

    for read_at in (1000.0, 1020.0):
        progress.update(replace(status(), read_at=read_at), slowly)
    progress.close()
    assert "running" in out.getvalue()
    assert "lost" not in out.getvalue()


def test_every_attempt_that_fails_during_a_run_is_told_in_one_line(tmp_path: Path) -> None:
    study = created(tmp_path)
    study.run(trainables.stumble, workers=0, progress=False)
    study.extend(3)
    clock, lines = Clock(), Lines()
    observer = FailuresObserver(lines, study.store, study.id, clock=clock)
    observer.start(study.status())  # what failed before is not told again
    study.run(trainables.stumble, workers=0, progress=False)
    observer.update(study.status(), study.members)  # too soon to look again
    assert lines == []
    clock.now = 1.0
    observer.update(study.status(), study.members)
    at = "RuntimeError: a stone on the way (trainables.py:"
    assert [line.rpartition(at)[0] for line in lines] == [
        "m1r2 failed: ",
        "m1r2 failed at attempt 2: ",
    ]
    observer.finish(study.status(), "over")
    assert len(lines) == 2


def test_failures_are_told_once_the_store_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, clock, lines = created(tmp_path), Clock(), Lines()
    observer = FailuresObserver(lines, study.store, study.id, clock=clock)
    observer.start(study.status())
    study.run(trainables.stumble, workers=0, progress=False)

    def away(study: int, *, limit: int) -> Any:
        raise StoreBusy("it stayed locked by another program")

    clock.now = 1.0
    with monkeypatch.context() as locked:
        locked.setattr(study.store, "failures", away)
        observer.update(study.status(), study.members)
        observer.finish(study.status(), "over")
    assert lines == []
    observer.update(study.status(), study.members)
    assert len(lines) == 4


def test_where_nothing_new_has_failed_no_tracebacks_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, asked = created(tmp_path), []
    study.run(trainables.stumble, workers=0, progress=False)
    failures = study.store.failures

    def counted(study: int, *, limit: int) -> Any:
        asked.append(limit)
        return failures(study, limit=limit)

    monkeypatch.setattr(study.store, "failures", counted)
    observer = FailuresObserver(Lines(), study.store, study.id, clock=Clock())
    observer.start(study.status())
    observer.finish(study.status(), "over")
    assert asked == [1, 1]


def test_run_shows_failures_that_came_after_its_last_look(tmp_path: Path) -> None:
    lines = Lines()
    created(tmp_path).run(trainables.stumble, workers=0, progress=lines)
    assert [line.split()[0] for line in lines] == ["m1r0", "m1r0", "m1r1", "m1r1"]


def test_failures_faster_than_can_be_shown_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    lines, study = Lines(), created(tmp_path, max_failures=60)
    observer = FailuresObserver(lines, study.store, study.id, clock=Clock())
    observer.start(study.status())
    study.run(trainables.stumble, workers=0, progress=False)
    observer.finish(study.status(), "over")
    assert lines[0] == "attempts fail faster than they can be shown; the last 50:"
    assert len(lines) == 51


class Lines(list[str], Observer):
    """An observer that keeps the lines."""

    def line(self, text: str) -> None:
        self.append(text)


def created(home: Path, **changes: Any) -> Study:
    settings: dict[str, Any] = {
        "metric": "height", "mode": "max", "space": {"step": Uniform(0.1, 1.0)}, "population": 4,
        "rounds": 2, "max_failures": 1,
    }  # fmt: skip
    return create_study("hill", store=f"sqlite:///{home}/study.db", **(settings | changes))
