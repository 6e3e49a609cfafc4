"""Schedules: piecewise-constant hyperparameters per round or step along one lineage."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.analysis import html
from evolvent.analysis.schedule import files
from evolvent.analysis.schedule.ray import read_policy, write_policy
from evolvent.analysis.schedule.segments import (
    UNITS,
    Segment,
    Unit,
    as_html,
    as_text,
    check_segments,
    joined,
    longest,
    names_of,
    stretched,
)
from evolvent.core.records import JobRecord
from evolvent.core.space import Space
from evolvent.core.values import stored
from evolvent.errors import ConfigError, OutOfSpace, UnknownName
from evolvent.validation import check_choice, check_count, warn

_FORMS = {".json": (files.to_json, files.from_json), ".csv": (files.to_csv, files.from_csv)}


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the weights at the end of a lineage were trained with, round by round.

    Attributes:
        segments: they follow each other from 0 without gaps.
        unit: what is counted: rounds of a study, or steps of an optimizer.

    Raises:
        ConfigError: the segments leave a gap, overlap, or there is none.
    """

    segments: tuple[Segment, ...]
    unit: Unit = "rounds"

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))
        check_choice("schedule: unit", self.unit, UNITS)
        check_segments(self.segments)

    @classmethod
    def of(cls, lineage: Sequence[JobRecord]) -> Schedule:
        """Return the schedule of a lineage, given from round 0 to its end.

        Rounds are counted along the lineage: a copy brings the donor's weights and so the donor's
        count. Neighbours with equal hyperparameters are one segment, also across a copy; then it
        has no member, and "several" is printed.
        """
        # As the log has them, so that a schedule is the same when it comes out of a file.
        return cls(joined(Segment(0, 1, _as_logged(job), job.member) for job in lineage))

    @classmethod
    def piecewise(
        cls, pieces: Sequence[tuple[int, Mapping[str, Any]]], *, unit: Unit = "rounds"
    ) -> Schedule:
        """Return a schedule written by hand: pairs of a length and its hyperparameters.

        Example:
            Ten rounds fast, then five slowly::

                ev.Schedule.piecewise([(10, {"lr": 0.1}), (5, {"lr": 0.01})])
        """
        for i, (length, _) in enumerate(pieces):
            check_count(f"segment {i}: length", length, least=1)
        return cls(joined(Segment(0, length, values) for length, values in pieces), unit)

    @property
    def total(self) -> int:
        """How many rounds or steps it lasts."""
        return self.segments[-1].end

    @property
    def rounds(self) -> int:
        """How many rounds of training the weights have seen.

        Raises:
            ConfigError: the schedule counts steps.
        """
        if self.unit != "rounds":
            raise ConfigError("this schedule counts steps, not rounds: ask for its total")
        return self.total

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters, with dotted names."""
        return names_of(self.segments)

    @property
    def last(self) -> Schedule:
        """The hyperparameters of the last segment, all the time."""
        return Schedule((replace(self.segments[-1], start=0, length=self.total),), self.unit)

    def at(self, time: int) -> Mapping[str, Any]:
        """Return the hyperparameters of one round or step, 0 to `total - 1`.

        Raises:
            IndexError: there is no such round or step.
        """
        if not 0 <= time < self.total:
            raise IndexError(
                f"{self.unit[:-1]} {time}: the schedule has {self.unit} 0 to {self.total - 1}"
            )
        place = bisect_right(self.segments, time, key=lambda segment: segment.start)
        return self.segments[place - 1].hyperparameters

    def values(self, name: str) -> list[Any]:
        """Return what one hyperparameter is in each segment.

        Args:
            name: dotted where the space is nested.

        Raises:
            UnknownName: a segment does not have it; lists those it has.
        """
        found = []
        for i, segment in enumerate(self.segments):
            known = Space.flatten(segment.hyperparameters)
            if name not in known:
                raise UnknownName(
                    f"{self._place(i)}: no hyperparameter {name!r}, there are {', '.join(known)}"
                )
            found.append(known[name])
        return found

    def only(self, *names: str) -> Schedule:
        """Return the schedule of some hyperparameters; segments that no longer differ are joined.

        Raises:
            UnknownName: a segment has no such hyperparameter.
        """
        columns = [self.values(name) for name in names]
        return Schedule(
            joined(
                replace(s, hyperparameters=Space.nest({n: c[i] for n, c in zip(names, columns)}))  # noqa: B905 - as many columns as names
                for i, s in enumerate(self.segments)
            ),
            self.unit,
        )

    def rescaled(self, total: int, *, unit: Unit | None = None) -> Schedule:
        """Return the schedule stretched or shrunk to another length.

        Borders move in proportion and are rounded; a segment lasts one round or step at least.
        Where there are more segments than rounds, the shortest are left out, with a warning.

        Args:
            total: the new length, 1 or more.
            unit: what is counted now; None leaves it.
        """
        check_count("total", total, least=1)
        new, segments = unit or self.unit, self.segments
        if len(segments) > total:
            warn(
                f"{len(segments)} segments do not fit into {total} {new}: only the "
                f"{total} longest are kept"
            )
        return Schedule(stretched(longest(segments, total), total), new)

    def in_steps(self, steps_per_round: int) -> Schedule:
        """Return the schedule in steps of an optimizer.

        Raises:
            ConfigError: it counts steps already.
        """
        check_count("steps_per_round", steps_per_round, least=1)
        return self.rescaled(self.rounds * steps_per_round, unit="steps")

    def check(self, space: Space | Mapping[str, Any]) -> Schedule:
        """Return the schedule with the types of a space: a float stays one when given as 1.

        Raises:
            OutOfSpace: names segment, hyperparameter, what came and what was wanted.
        """
        fields = Space.of(space)
        checked = []
        for i, segment in enumerate(self.segments):
            try:
                values = fields.check(segment.hyperparameters)
            except OutOfSpace as e:
                raise OutOfSpace(f"{self._place(i)}: {e}") from None
            checked.append(replace(segment, hyperparameters=fields.nest(values)))
        return Schedule(tuple(checked), self.unit)

    def save(self, path: str | Path) -> None:
        """Write the schedule to a file that `load` reads back bit for bit.

        Args:
            path: ends in `.json` or `.csv`. A column of the CSV is a hyperparameter by its dotted
                name, a row a segment.

        Raises:
            ConfigError: another ending, or the file cannot be written; then it is as it was.
        """
        write, _ = _form(path)
        files.write_text(path, write(self.segments, self.unit))

    @classmethod
    def load(cls, path: str | Path) -> Schedule:
        """Read what `save` wrote, or what was written by hand in the same form.

        Raises:
            ConfigError: names file, line or segment, field, what came and what was wanted.
        """
        _, read = _form(path)
        text = files.read_text(path)
        try:
            return cls(*read(text))
        except ConfigError as e:
            raise ConfigError(f"{path}: {e}") from e

    def to_json(self) -> str:
        """Return the schedule as JSON text, with a version."""
        return files.to_json(self.segments, self.unit)

    def to_csv(self) -> str:
        """Return the schedule as CSV text: a row a segment, a column a hyperparameter.

        Raises:
            ConfigError: a name has dots.
        """
        return files.to_csv(self.segments, self.unit)

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """Undo `to_json`.

        Raises:
            ConfigError: names line or segment, field, what came and what was wanted.
        """
        return cls(*files.from_json(text))

    @classmethod
    def from_ray(
        cls, path: str | Path, *, trial: str | None = None, total: int | None = None
    ) -> Schedule:
        """Read a policy log of Ray Tune's PBT by the rules of its own replay.

        A round of the schedule is one of Ray's training iterations, and its hyperparameters are
        the trial's whole config: keep what you need with `only`. Ray notes for a copy the
        iteration of the donor's last result, which may lie an interval beside the truth.

        Args:
            path: `pbt_policy_<trial>.txt`, which is the lineage of that trial, or `pbt_global.txt`.
            trial: with `pbt_global.txt`, the tag of the trial whose lineage is wanted, or the
                number that its tag begins with.
            total: how many iterations were trained. None: what `result.json` of the trial says,
                which Ray writes into a directory beside the log.

        Raises:
            ConfigError: no such file, line or trial; or the length is not known.
        """
        return cls(tuple(read_policy(Path(path), trial=trial, total=total)))

    def to_ray(self, path: str | Path) -> None:
        """Write a policy log that Ray Tune's `PopulationBasedTrainingReplay` follows.

        A round, or a step, becomes one of Ray's training iterations.

        Raises:
            ConfigError: the file cannot be written.
        """
        write_policy(path, self.segments)

    def __str__(self) -> str:
        return as_text(self.segments, unit=self.unit)

    def _repr_html_(self) -> str:
        table = as_html(self.segments, unit=self.unit)
        return html.framed("Schedule", f"{self.total} {self.unit}", table)

    def _place(self, i: int) -> str:
        return f"segment {i} ({self.unit} {self.segments[i].span})"


def _form(path: str | Path) -> tuple[Any, Any]:
    ending = Path(path).suffix.lower()
    if ending not in _FORMS:
        raise ConfigError(f"path: got {str(path)!r}, wanted a name that ends in .json or .csv")
    return _FORMS[ending]


def _as_logged(job: JobRecord) -> dict[str, Any]:
    return {name: stored(value) for name, value in job.hyperparameters.items()}
