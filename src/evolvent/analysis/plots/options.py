"""What the caller of a plot may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from evolvent.analysis.plots.theme import DARK, LIGHT, Theme
from evolvent.validation import check_count, check_flag, invalid

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
            raise invalid("metric", f"got {self.metric!r:.80}, wanted the name of one")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value, least=_LEAST, most=_MOST)
        names = self.hyperparameters
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise invalid("hyperparameters", f"got {names!r:.80}, wanted a list of names")

    @property
    def theme(self) -> Theme:
        return DARK if self.dark else LIGHT

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the figure: as chosen, or else as given."""
        return self.width or width, self.height or height
