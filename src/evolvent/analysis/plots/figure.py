"""A figure that is wanted: what may be chosen, what is checked first, and who draws it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evolvent.analysis.log import Log
from evolvent.analysis.plots import KINDS
from evolvent.analysis.plots.theme import DARK, LIGHT, Theme
from evolvent.errors import ConfigError
from evolvent.validation import check_count, check_flag, cut, invalid

if TYPE_CHECKING:
    from evolvent.analysis.plots.drawing import ChartType

_PACKAGE = "evolvent.analysis.plots"
_LEAST, _MOST = 200, 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The choices for one figure.

    Attributes:
        metric: which metric is shown; None: the objective of the study.
        hyperparameters: which are shown, and in which order; none: those that vary.
        dark: light marks on a dark ground.
        width, height: of the whole figure, in pixels, about: 200 to 8,000; None: what suits.
    """

    metric: str | None = None
    hyperparameters: Sequence[str] = ()
    dark: bool = False
    width: int | None = None
    height: int | None = None

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> Options:
        """Return choices given by name.

        Raises:
            ConfigError: there is no such choice, or it is not usable; says what there is.
        """
        names = [field.name for field in fields(cls)]
        for name in choices:
            if name not in names:
                raise invalid("plot", f"got an option {name!r}, wanted one of {', '.join(names)}")
        return cls(**choices)

    def __post_init__(self) -> None:
        check_flag("dark", self.dark)
        if self.metric is not None and not isinstance(self.metric, str):
            raise invalid("metric", f"got {cut(self.metric)}, wanted the name of one")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value, least=_LEAST, most=_MOST)
        names = self.hyperparameters
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise invalid("hyperparameters", f"got {cut(names)}, wanted a list of names")

    @property
    def theme(self) -> Theme:
        return DARK if self.dark else LIGHT

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the figure: as chosen, or else as given."""
        return self.width or width, self.height or height


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRequest:
    """A figure that is wanted: checked before any log is read.

    Attributes:
        kind: one of `KINDS`.
        options: what may be chosen.
        file: where it is written; None: nowhere.

    Raises:
        ConfigError: an unknown kind or ending of the file; says what there is.
        MissingExtra: Altair or vl-convert is not installed.
    """

    kind: str
    options: Options = field(default_factory=Options)
    file: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise invalid("kind", f"got {self.kind!r}, wanted one of {', '.join(KINDS)}")
        # Imports the libraries that write, too: what is missing is said before a log is read.
        if self.file is not None:
            self._writer.check_format(self.file)

    def draw(self, arms: Mapping[str, Sequence[Log]]) -> ChartType:
        """Draw the figure, and write it if there is a file.

        Args:
            arms: by name, the logs of the studies that it shows, those of one arm together.

        Raises:
            ConfigError: an unknown metric or hyperparameter, or too many studies; says what there
                is.
            EvolventError: the file cannot be written.
        """
        most = KINDS[self.kind].studies
        logs = [log for arm in arms.values() for log in arm]
        if not logs or (most is not None and len(logs) > most):
            wanted = "one or more" if most is None else "one" if most == 1 else f"one to {most}"
            raise ConfigError(f"kind {self.kind}: got {len(logs)} studies, wanted {wanted}")
        shown = arms if most is None else logs if most > 1 else logs[0]
        chart: ChartType = import_module(f"{_PACKAGE}.kinds.{self.kind}").draw(shown, self.options)
        if self.file is not None:
            self._writer.save(chart, self.file)
        return chart

    @property
    def _writer(self) -> Any:
        return import_module(f"{_PACKAGE}.save")
