"""The front door of figures: from names of studies to a chart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from evolvent.analysis.plots.figure import FigureRequest, Options
from evolvent.comparing import ArmLike, read_arms
from evolvent.store.protocol import Store
from evolvent.validation import DEFAULT_STORE


def plot(
    kind: str,
    *arms: ArmLike | Mapping[str, ArmLike],
    store: str | Store = DEFAULT_STORE,
    file: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Any:
    """Draw a figure of one study or more.

    Example:
        The best so far of three seeds each, as a page that needs no network::

            ev.plot("compare", "pbt-*", "rs-*", file="arms.html")
            ev.plot("scatter", "digits", "digits-control", hyperparameters=["lr", "momentum"])

    Args:
        kind: `scores`, `hyperparameters`, `schedule`, `family`, `scatter`, `parallel`,
            `improvement`, `diversity` or `compare`; see `evolvent plot --help`.
        arms: studies, names or patterns of names, as with `ev.compare`.
        store: where names are looked up.
        file: where it is written; the ending says how: `.png`, `.svg`, `.pdf`, `.html`, `.json`.
        options: `metric`, `hyperparameters` (a list of names), `dark`, `width`, `height` (pixels).

    Returns:
        The Altair chart, which notebooks show and which can be changed.

    Raises:
        UnknownStudy: there is no study of that name or pattern; names the ones there are.
        ConfigError: an unknown kind, metric, hyperparameter or option, or too many studies; says
            what there is.
        EvolventError: the file cannot be written.
        MissingExtra: Altair or vl-convert is not installed.
    """
    request = FigureRequest(kind=kind, options=Options.of(options), file=file)
    return request.draw(read_arms(*arms, store=store))
