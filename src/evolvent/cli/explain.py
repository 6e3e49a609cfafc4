"""Commands about descent: explain, lineage, tree."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from evolvent.cli.options import DEFAULT_STORE, AsJson, Format, StoreUrl, StudyChoice
from evolvent.cli.render.output import job_as_json, print_json, print_rows
from evolvent.core.records import JobId
from evolvent.errors import UnknownJob

if TYPE_CHECKING:
    from evolvent.result import Result

_Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STUDY] [JOB]",
        help="The study, and a job such as m3r12. \\[default: the newest, its best job]",
        show_default=False,
    ),
]


def explain(names: _Names = None, store: StoreUrl = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Say in plain words why a job exists.

    Who was compared with whom, the ranks and scores, the rule that fired, every
    hyperparameter before and after, and what came of it.

    [bold]Examples[/bold]
      evolvent explain                    the best job of the newest study
      evolvent explain m3r12              another job of it
      evolvent explain digits m3r12
      evolvent explain digits m3r12 --json | jq .changes

    Nothing of this was recorded: the population is put together from the log as
    the decision saw it, the decision is taken again, and the last line says
    whether that gives what the log says.
    """
    from evolvent.cli.render.explanation import explanation_as_json, print_explanation

    result, job = _result_and_job(names, store)
    explanation = result.explain(job)
    if as_json:
        print_json(explanation_as_json(explanation))
    else:
        print_explanation(explanation)


def lineage(
    names: _Names = None, store: StoreUrl = DEFAULT_STORE, form: Format = Format.TABLE
) -> None:
    """List the ancestors of a job from round 0 on, with what each trained with.

    [bold]Examples[/bold]
      evolvent lineage                    of the best job of the newest study
      evolvent lineage digits m3r12
      evolvent lineage digits --csv > lineage.csv
    """
    from evolvent.core.space import Space
    from evolvent.display.columns import short_names

    result, job = _result_and_job(names, store)
    line, record = result.lineage(job), result.status.record
    if form is Format.JSON:
        print_json([job_as_json(ancestor) for ancestor in line])
        return
    hyperparameters = list(record.space)
    rows = []
    for ancestor in line:
        value = None if ancestor.score is None else record.score(ancestor.score)
        values = Space.flatten(ancestor.hyperparameters)
        copied = "" if ancestor.donor is None else f"<- {ancestor.parent}"
        rows.append([str(ancestor.id), value, copied, *(values[n] for n in hyperparameters)])
    titles = short_names(hyperparameters) if form is Format.TABLE else {}
    names = [titles.get(name, name) for name in hyperparameters]
    print_rows(["id", record.metric, "copied", *names], rows, form)


def tree(
    study: StudyChoice,
    every: Annotated[bool, typer.Option("--all", help="Draw all branches, not only 40.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw the family tree of the members that are left, and how much variety they have.

    [bold]Examples[/bold]
      evolvent tree
      evolvent tree digits --all
      evolvent tree digits --json | jq .diversity.warning

    Every line is a stretch of weights from its first to its last job, up to where
    its descendants part or end. What has died out is not shown.
    """
    from evolvent.analysis.lineage.diversity import Diversity
    from evolvent.analysis.lineage.family_tree import branches
    from evolvent.cli.render.family import print_family, tree_as_json

    result = study.open().result()
    family = result.family_tree()
    stems, diversity = branches(family), Diversity.of(family.log, family)
    if as_json:
        print_json(tree_as_json(family, stems, diversity))
    else:
        print_family(family, stems, diversity, most=None if every else 40)


def _result_and_job(names: list[str] | None, store: str) -> tuple[Result, str]:
    """Return the study and the job that are meant: one name alone is a job if it reads like one."""
    if names is not None and len(names) > 2:
        raise typer.BadParameter(f"got {len(names)} names, wanted at most a study and a job")
    study, job = [*(names or []), None, None][:2]
    if study is not None and job is None:
        with suppress(UnknownJob):
            job = JobId.parse(study)
            study = None
    result = StudyChoice(study, store).open().result()
    return result, str(result.best.job.id) if job is None else job


COMMANDS = (explain, lineage, tree)
