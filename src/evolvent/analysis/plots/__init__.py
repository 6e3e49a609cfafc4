"""Figures of studies, drawn from their logs: `KINDS` says which there are.

Importing this is quick, for the help of the command line; only the files that draw need Altair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A kind of figure; the file of its name in this package draws it.

    Attributes:
        description: what is seen.
        studies: how many studies it can show, at most; None: any number.
    """

    description: str
    studies: int | None = 1


KINDS: Mapping[str, FigureKind] = {
    "scores": FigureKind(
        "the metric of every member over rounds, the lineage of the best emphasised; beside it a "
        "second study",
        studies=2,
    ),
    "hyperparameters": FigureKind("every hyperparameter over rounds; copies are jumps"),
    "schedule": FigureKind("the hyperparameters that the best model was trained with, as steps"),
    "family": FigureKind(
        "who copied whom, coloured by founder; the lineage of the best stands out"
    ),
    "scatter": FigureKind(
        "two hyperparameters of every job, larger by round, the best starred; beside it a second "
        "study, such as random search",
        studies=2,
    ),
    "parallel": FigureKind("the members as lines over all hyperparameters and the metric"),
    "improvement": FigureKind("what a round gained, against each hyperparameter, with the trend"),
    "diversity": FigureKind(
        "how much variety is left: founders, and the spread of hyperparameters"
    ),
    "compare": FigureKind(
        "several studies at equal compute: the best so far, bands over seeds", None
    ),
}
