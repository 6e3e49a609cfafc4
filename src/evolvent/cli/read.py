"""Commands that read: studies, show, jobs, best."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolvent.cli.options import DEFAULT_STORE, AsJson, Format, StoreUrl, StudyChoice, split_names
from evolvent.cli.render.output import (
    job_as_json,
    output_console,
    print_json,
    print_lines,
    print_prose,
    print_rows,
)
from evolvent.core.records import JobRecord, JobState
from evolvent.display.words import ago, local_time
from evolvent.errors import CheckpointMissing, UnknownJob

if TYPE_CHECKING:
    from evolvent.cli.render.fields import Fields
    from evolvent.result import Result
    from evolvent.store.records import FailedAttempt, MemberView, StudyStatus
    from evolvent.study import Study

_INTERVENTIONS = 5


def studies(store: StoreUrl = DEFAULT_STORE, form: Format = Format.TABLE) -> None:
    r"""List the studies of a store, the newest last.

    [bold]Examples[/bold]
      evolvent studies
      evolvent studies --json | jq '.\[] | select(.state == "open") | .name'
    """
    from evolvent.studies import list_studies

    rows = [_study_row(status) for status in list_studies(store)]
    print_rows(_STUDY_TITLES, [list(row.values()) for row in rows], form)


_STUDY_TITLES = (
    "name", "state", "done", "jobs", "best", "metric", "created_at", "best_job", "stopped",
    "mode", "best_by", "members", "rounds", "synchronous", "seed", "lost",
)  # fmt: skip


def _study_row(status: StudyStatus) -> dict[str, Any]:
    record = status.record
    values = (
        record.name, str(status.state), status.n_finished, status.n_total, status.best_value,
        record.metric, local_time(status.created_at),
        None if status.best is None else str(status.best), status.stopped, record.mode,
        record.best, status.members, record.rounds, record.synchronous, record.seed, status.lost,
    )  # fmt: skip
    return dict(zip(_STUDY_TITLES, values, strict=True))


def show(
    study: StudyChoice,
    watch: Annotated[
        bool, typer.Option("--watch", "-f", help="Go on showing it until it is over.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="How often --watch looks.")
    ] = 0.5,
    form: Format = Format.TABLE,
) -> None:
    """Show one study: its members, what they train with and whom they copied.

    Below them stands what was done to it last (extended, stopped, pushed, …), when and by whom; all
    of it is in --json.

    [bold]Examples[/bold]
      evolvent show                    the newest study
      evolvent show digits --watch     until it is over, or Ctrl-C
      evolvent show digits --json
    """
    if watch and form is not Format.TABLE:
        raise typer.BadParameter("--watch shows a table: leave out --json and --csv")
    opened = study.open()
    if watch:
        _watch(opened, every_s=every)
    elif form is Format.TABLE:
        _print_study(opened)
    else:
        _print_members(opened, form)


def _watch(study: Study, *, every_s: float) -> None:
    from evolvent.display.failures import FailuresObserver
    from evolvent.display.progress import Progress
    from evolvent.store.records import StudyState

    progress = FailuresObserver(Progress(), study.store, study.id)
    try:
        status = study.status()
        progress.start(status)
        while status.state is StudyState.OPEN:
            progress.update(status, study.members)
            time.sleep(every_s)
            status = study.status()
        progress.update(status, study.members)
        progress.finish(status, f"{status.state}{_stop_note(status)}")
        _print_warning(study, status)
    finally:
        progress.close()


def _print_study(study: Study) -> None:
    from evolvent.display.lost import lost_lines
    from evolvent.display.progress import headline, progress_line
    from evolvent.display.table import study_table
    from evolvent.display.words import settings
    from evolvent.store.records import FailureKind

    console, status, members = output_console(), study.status(), study.members()
    console.print(headline(status), soft_wrap=True)
    console.print(f"{status.state}{_stop_note(status)}  {progress_line(status)}", soft_wrap=True)
    console.print(study_table(status, members, width=console.width))
    record = status.record
    how = ", synchronous" if record.synchronous else ""
    print_prose([f"algorithm: {settings(record.algorithm)}{how}"], style="dim")
    if pinned := study.store.pins(study.id):
        console.print(f"pinned: {', '.join(pinned)}", markup=False, soft_wrap=True)
    _print_interventions(study, status)
    running = (view.open for view in members if view.open is not None)
    print_prose(lost_lines(status, running), style="yellow")
    _print_warning(study, status)
    failures = [f for f in study.failures() if f.failure.kind is not FailureKind.RETURNED]
    if failures:
        _print_failure(failures[-1])


def _print_interventions(study: Study, status: StudyStatus) -> None:
    newest = study.store.interventions(study.id, limit=_INTERVENTIONS + 1)
    if len(newest) > _INTERVENTIONS:
        print_prose(["… what was done to it before is in --json"], style="dim")
    now = time.time() if status.read_at is None else status.read_at
    shown = newest[-_INTERVENTIONS:]
    print_prose(f"{done.words}, {ago(now - done.at)}, by {done.by}" for done in shown)


def _print_failure(last: FailedAttempt) -> None:
    from evolvent.analysis.explain.tracebacks import failure_line, last_lines

    head = f"last failure: {last.job}, attempt {last.attempt}: {failure_line(last.failure)}"
    print_prose([head], style="red")
    print_lines(last_lines(last.failure.traceback))


def _print_warning(study: Study, status: StudyStatus) -> None:
    from evolvent.analysis.lineage.diversity import read_warning

    if warning := read_warning(study.store, status):
        print_prose([f"warning: {warning}"], style="yellow")


def _stop_note(status: StudyStatus) -> str:
    from evolvent.store.records import StudyState

    over = status.state in (StudyState.FINISHED, StudyState.FAILED)
    return f" ({status.stop_line})" if status.stopped and not over else ""


def _print_members(study: Study, form: Format) -> None:
    from evolvent.analysis.lineage.diversity import read_warning
    from evolvent.cli.render.fields import Fields

    status, members = study.status(), study.members()
    if form is Format.JSON:
        views = [_member_as_json(view, status) for view in members]
        settings, pinned = status.record.to_json(), study.store.pins(study.id)
        warning = read_warning(study.store, status)
        done = [asdict(done) for done in study.interventions()]
        told = {"warning": warning, "settings": settings, "pinned": pinned, "interventions": done}
        row = {**_study_row(status), "read_at": status.read_at}
        print_json({**row, **told, "members": views})
        return
    current = [job for view in members if (job := view.current) is not None]
    seen = [job for view in members for job in (view.newest, view.open) if job is not None]
    fields = Fields.of(study.record.space, seen)
    getters = [fields.getter(name) for name in fields.names]
    print_rows(fields.names, [[get(job) for get in getters] for job in current], form)


def _member_as_json(view: MemberView, status: StudyStatus) -> dict[str, Any]:
    """Return the newest finished and the open job of a member, hyperparameters nested."""
    from evolvent.store.records import nested

    jobs = {"newest": view.newest, "open": view.open}
    return {
        name: None if job is None else job_as_json(nested(job, status))
        for name, job in jobs.items()
    }


def jobs(
    study: StudyChoice,
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help="queued, running, lost, done, failed or cancelled."),
    ] = None,
    member: Annotated[int | None, typer.Option(help="Only of this member.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Only where this holds; may be repeated."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Sort by a field; -FIELD: downwards.")
    ] = None,
    fields: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Fields to print, comma-separated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    form: Format = Format.TABLE,
) -> None:
    """List jobs in the order in which they finished, then the open ones.

    [bold]Examples[/bold]
      evolvent jobs --state failed --fields id,error
      evolvent jobs digits --member 3 --sort round
      evolvent jobs --where 'score>0.9' --where 'lr<0.01' --sort -score --limit 10
      evolvent jobs --csv > jobs.csv

    [bold]Fields[/bold]
      id, member, round, state, score, parent, donor, attempt, checkpoint, reason,
      cause, error, worker, started_at, finished_at, seconds, lease_until; every
      hyperparameter and every metric by its name. A higher score is better: it is
      the metric, negated where the study minimises it. In the table a running job
      whose worker has been silent beyond its lease is "lost".
    """
    from evolvent.cli.render.fields import Fields, human_readable

    opened = study.open()
    status = opened.status()
    everything = opened.jobs()
    if member is not None and not 0 <= member < (n := status.members):
        raise UnknownJob(f"study {opened.name!r} has no member {member}: it has 0 to {n - 1}")
    known = Fields.of(opened.record.space, everything)
    chosen = _filtered(everything, known, status, state=state, member=member, where=where or [])
    if sort is not None:
        chosen = known.sorted(chosen, sort)
    chosen = chosen[:limit]
    if fields is None and form is Format.JSON:
        print_json([job_as_json(job) for job in chosen])
        return
    names = _default_fields(opened, known, form) if fields is None else split_names(fields)
    getters = [known.getter(name) for name in names]
    rows = [[get(job) for get in getters] for job in chosen]
    if form is Format.TABLE:
        told = zip(chosen, rows, strict=True)
        rows = [human_readable(names, row, state=status.shown_state(job)) for job, row in told]
    print_rows(names, rows, form)


def _filtered(
    everything: list[JobRecord], known: Fields, status: StudyStatus, *,
    state: str | None, member: int | None, where: list[str],
) -> list[JobRecord]:  # fmt: skip
    from evolvent.store.records import LOST

    states = [*map(str, JobState), LOST]
    if state is not None and state not in states:
        raise typer.BadParameter(f"--state: got {state!r}, wanted one of {', '.join(states)}")
    conditions = [known.condition(text) for text in where]
    return [
        job
        for job in everything
        if (state is None or state in (job.state, status.shown_state(job)))
        and (member is None or job.member == member)
        and all(holds(job) for holds in conditions)
    ]


def _default_fields(study: Study, known: Fields, form: Format) -> list[str]:
    if form is Format.CSV:
        return known.names
    metric = study.record.metric
    shown = ["id", "state", *([metric] if metric in known.metrics else ["score"])]
    varied = known.hyperparameters
    ours = [n for n in known.names if n.removeprefix("hyperparameters.") in varied]
    return [*shown, "parent", "seconds", *ours]


def best(
    study: StudyChoice,
    path: Annotated[
        bool, typer.Option("--path", help="Print only the directory of the checkpoint.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the best model: score, hyperparameters, checkpoint, and the schedule that made it.

    Every byte of the checkpoint is checked; a damaged one is an error.

    [bold]Examples[/bold]
      evolvent best digits
      cp -r "$(evolvent best --path)" best_model
      evolvent best --json | jq .best.schedule
    """
    from evolvent.cli.render.best import best_as_json, print_best

    result = study.open().result()
    if path:
        print(result.best.checkpoint)
    elif as_json:
        _verify_best(result)
        print_json(best_as_json(result))
    else:
        print_best(result)
        _verify_best(result)


def _verify_best(result: Result) -> None:
    """Check every byte of the best checkpoint, if it is on this machine."""
    # A better one may come, and this one be collected, while we look: that is no damage.
    with suppress(CheckpointMissing):
        if result.status.best is not None and result.best.directory.is_dir():
            _ = result.best.checkpoint


COMMANDS = (studies, show, jobs, best)
