"""Commands that hold studies against each other: compare, control."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from evolvent.cli.options import DEFAULT_STORE, AsJson, Format, StoreUrl, StudyChoice
from evolvent.cli.render.output import output_console, print_csv, print_json
from evolvent.cli.train import (
    RunOptions,
    TrainablePath,
    give_arguments,
    observer,
    show_result,
    trainable_path,
)

if TYPE_CHECKING:
    from evolvent.analysis.comparison.comparison import Comparison
    from evolvent.analysis.comparison.replay_report import ReplayReport

VERSUS = "vs"
_VERDICTS = {
    "better": "bold green", "worse": "bold red",
    "as good": "green", "undecided": "yellow",
}  # fmt: skip


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDIES", show_default=False,
            help="Names or patterns; each is a group, unless 'vs' stands between groups.",
        ),
    ],
    store: StoreUrl = DEFAULT_STORE,
    test: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="A metric that had no say in choosing the best."),
    ] = None,
    test_mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="max or min. \\[default: as with the metric]"),
    ] = None,
    form: Format = Format.TABLE,
) -> None:  # fmt: skip
    """Compare studies, or groups of seeds, at equal compute; say what the seeds tell.

    [bold]Examples[/bold]
      evolvent compare digits digits-control --test test_accuracy
      evolvent compare 'pbt-?' 'rs-?'                   groups by pattern (quoted)
      evolvent compare pbt-1 pbt-2 pbt-3 vs rs-1 rs-2 rs-3
      evolvent compare 'pbt-?' 'rs-?' 'grid-?' --csv

    [bold]What is compared[/bold]
      best   the best value of the metric
      area   the mean, over the jobs, of the best value so far: high when a study
             is good early, not only at its end
      test   the --test metric in the job that was best by validation

    Each after equally many jobs of every study: as many as the shortest has.
    Means, standard deviations and 95 % intervals are over the studies of a group,
    which differ by their seeds; differences are the first group minus
    every other, seed by seed where the seeds are the same. Below six seeds the
    intervals are Student's t, from six on a percentile bootstrap, widened for so
    few seeds. A difference is as good as none where the interval lies within
    the spread of seeds, else undecided where it holds 0, with the seeds that
    would do.
    """
    from evolvent.analysis.comparison.comparison import ROW
    from evolvent.comparing import compare as compare_studies

    found = compare_studies(*parse_arms(studies), store=store, test=test, test_mode=test_mode)  # type: ignore[arg-type]  # checked there
    if form is Format.JSON:
        print_json(found.to_json())
    elif form is Format.CSV:
        print_csv(ROW, [list(row.values()) for row in found.rows()])
    else:
        print_verdicts(found)


def parse_arms(words: list[str]) -> Sequence[str | list[str]]:
    """Return the groups: what stands between `vs`, or each word where there is none."""
    if VERSUS not in words:
        return words
    arms = [list(arm) for is_versus, arm in groupby(words, VERSUS.__eq__) if not is_versus]
    if len(arms) != words.count(VERSUS) + 1:
        raise typer.BadParameter("a study is wanted on either side of 'vs'")
    return arms


def print_verdicts(report: Comparison | ReplayReport) -> None:
    """Print a comparison; in a terminal, verdicts stand out."""
    from rich.text import Text

    shown = Text()
    for line in report.lines():
        text = Text(line.text)
        if line.verdict:
            text.stylize(_VERDICTS[line.verdict], -len(line.verdict) - 1)
        text.stylize("bold red", 0, len(line.alarm))
        shown.append_text(text).append("\n")
    output_console().print(shown, end="", soft_wrap=True)


def control(
    ctx: typer.Context,
    study: StudyChoice,
    trainable: TrainablePath = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the control arm. \\[default: STUDY-control]"),
    ] = None,
    *,
    running: RunOptions,
    as_json: AsJson = False,
) -> None:
    """Train the control arm: random search, same first members, seed and compute.

    [bold]Examples[/bold]
      evolvent control digits --workers 2      makes and trains digits-control
      evolvent compare digits digits-control --test test_accuracy

    The same command goes on after Ctrl-C, a kill or a crash.
    """
    from evolvent.comparing import compare as compare_studies

    opened = study.open()
    path = trainable_path(opened, trainable)
    give_arguments(ctx, path)
    result = opened.control(name).run(path, progress=observer(as_json), **running)
    show_result(result, as_json=as_json)
    arms = opened.result(), result
    if not as_json and all(arm.status.best is not None for arm in arms):
        print()
        print_verdicts(compare_studies(*arms))


COMMANDS = (compare, control)
