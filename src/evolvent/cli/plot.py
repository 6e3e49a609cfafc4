"""The command that draws: plot."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getdoc
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from evolvent.analysis.plots import KINDS
from evolvent.cli.options import DEFAULT_STORE, StoreUrl

_WIDTH = 76


def plot(
    description: Annotated[
        list[str],
        typer.Argument(
            metavar="[STUDY...] KIND", show_default=False,
            help="What is drawn, of which studies. \\[default: the newest study]",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", show_default=False,
            help="Where it is written: .png, .svg, .pdf, .html or .json.",
        ),
    ],
    store: StoreUrl = DEFAULT_STORE,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="Which metric. \\[default: the objective]")
    ] = None,
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option(
            "--hyperparameter", "-p", metavar="NAME", show_default=False,
            help="Which hyperparameter; may be repeated. \\[default: those that vary]",
        ),
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="On a dark ground.")] = False,
    width: Annotated[
        int | None, typer.Option(metavar="N", help="Of the figure, in pixels, about.")
    ] = None,
    height: Annotated[
        int | None, typer.Option(metavar="N", help="Of the figure, in pixels, about.")
    ] = None,
) -> None:  # fmt: skip
    """Draw a study, or several beside each other, into a file.

    [bold]Kinds[/bold]
    KINDS

    [bold]Examples[/bold]
      evolvent plot scores -o scores.svg               of the newest study
      evolvent plot digits family -o family.png --dark
      evolvent plot digits digits-random scores -o both.svg
      evolvent plot digits digits-random scatter -o search.html
      evolvent plot digits hyperparameters -p lr -p momentum -o lr.pdf
      evolvent plot 'pbt-*' 'rs-*' compare -o arms.png
      evolvent plot pbt-1 pbt-2 vs rs-1 rs-2 compare -o arms.png

    An HTML file shows values under the mouse and needs no network.
    """
    from evolvent.cli.compare import parse_arms
    from evolvent.plotting import plot as draw
    from evolvent.studies import load_study

    *studies, kind = description
    if kind not in KINDS:
        raise typer.BadParameter(
            f"got {kind!r}, wanted, as the last argument, one of {', '.join(KINDS)}"
        )
    arms: Sequence[Any] = parse_arms(studies) if studies else [load_study(store=store)]
    draw(
        kind, *arms, store=store, file=output, metric=metric,
        hyperparameters=hyperparameter or (), dark=dark, width=width, height=height,
    )  # fmt: skip
    print(f"wrote {output}")


def _kinds() -> str:
    lines = []
    for name, kind in KINDS.items():
        first, *more = wrap(kind.description, _WIDTH - 17)
        lines += [f"  {name:17}{first}", *(f"{'':19}{line}" for line in more)]
    return "\n".join(lines)


plot.__doc__ = (getdoc(plot) or "").replace("KINDS", _kinds())
COMMANDS = (plot,)
