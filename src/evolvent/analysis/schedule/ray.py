"""Policy logs of Ray Tune's PBT, read by the rules of its own replay, and written for it.

A line of a log is one copy: [tag of the trial that copied, tag of its donor, iteration of the
trial, iteration of the donor, the donor's config, the trial's new config]. `pbt_global.txt` has
the copies of all trials; `pbt_policy_<trial>.txt` those that led to one trial, which is why Ray
overwrites it with the donor's at each copy.

Source: Ray Tune, ray/tune/schedulers/pbt.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.analysis.schedule.files import read_text, strict_json, write_text
from evolvent.analysis.schedule.segments import Segment, joined
from evolvent.errors import ConfigError, UnknownName
from evolvent.validation import check_count, cut

_FIELDS = "trial, donor, iteration of the trial, iteration of the donor, old config, new config"
_GLOBAL, _POLICY = "pbt_global", "pbt_policy_"


@dataclass(frozen=True, slots=True)
class _PolicyCopy:
    """One line: at `step` of its own count, `donor` became `trial`, with another config."""

    trial: str
    donor: str
    step: int
    old: Mapping[str, Any]
    new: Mapping[str, Any]

    @property
    def is_end(self) -> bool:
        """Whether it is the mark that `write_policy` leaves; Ray's trials never copy themselves."""
        return self.trial == self.donor and self.old == self.new


def read_policy(path: Path, *, trial: str | None, total: int | None) -> tuple[Segment, ...]:
    """Return the lineage in a log; see `Schedule.from_ray`."""
    if total is not None:
        check_count("total", total, least=1)
    copies = _copies(path)
    try:
        last, chain = _lineage(copies, path.stem, trial)
        if total is None:
            total = chain[-1].step if chain and chain[-1].is_end else _trained(path, last)
        first = chain[0] if chain else next(copy for copy in copies if copy.donor == last)
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e
    begin = (0, Segment(0, 0, first.old, _number(first.donor)))
    changes = [(copy.step, Segment(0, 0, copy.new, _number(copy.trial))) for copy in chain]
    return _segments_of([begin, *changes], total)


def write_policy(path: str | Path, segments: Sequence[Segment]) -> None:
    """Write a log that Ray's replay follows; its last line marks the end and changes nothing."""
    lines = []
    for before, after in zip(segments, [*segments[1:], segments[-1]], strict=True):
        line = (
            _tag(after), _tag(before), before.end, before.end,
            before.hyperparameters, after.hyperparameters,
        )  # fmt: skip
        lines.append(json.dumps(line, allow_nan=False) + "\n")
    write_text(path, "".join(lines))


def _copies(path: Path) -> list[_PolicyCopy]:
    copies = []
    for i, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            copies.append(_copy(strict_json(line)))
        except json.JSONDecodeError as e:
            raise ConfigError(f"{path}: line {i}: no JSON: {e.msg} at column {e.colno}") from e
        except ConfigError as e:
            raise ConfigError(f"{path}: line {i}: {e}") from e
    if not copies:
        raise ConfigError(f"{path}: got an empty file, wanted a line for each copy")
    return copies


def _copy(row: Any) -> _PolicyCopy:
    if not isinstance(row, list) or len(row) != 6:
        raise ConfigError(f"got {cut(row)}, wanted a list of {_FIELDS}")
    trial, donor, _, step, old, new = row
    for what, tag in (("trial", trial), ("donor", donor)):
        if not isinstance(tag, str):
            raise ConfigError(f"{what}: got {cut(tag)}, wanted a tag")
    for what, config in (("old config", old), ("new config", new)):
        if not isinstance(config, Mapping):
            raise ConfigError(f"{what}: got {cut(config)}, wanted an object of names")
    return _PolicyCopy(trial, donor, check_count("iteration of the donor", step, least=0), old, new)


def _lineage(
    copies: Sequence[_PolicyCopy], name: str, trial: str | None
) -> tuple[str, list[_PolicyCopy]]:
    """Return the tag of a trial and the copies that led to it, the first one first."""
    if trial is None and name.startswith(_GLOBAL):
        tags = ", ".join(map(repr, _tags(copies)))
        raise ConfigError(
            f"holds several trials: say which one's lineage with --trial (trial=): {tags}"
        )
    last = copies[-1].trial if trial is None else _tag_of(trial, copies)
    tag, chain = last, []
    # Copies of others lie between them in a global log; in the log of one trial there may be older
    # ones of its own, which the last one has overwritten.
    for copy in reversed(copies):
        if copy.trial == tag:
            chain.append(copy)
            tag = copy.donor
    return last, chain[::-1]


def _tags(copies: Sequence[_PolicyCopy]) -> list[str]:
    return sorted({tag for copy in copies for tag in (copy.trial, copy.donor)})


def _tag_of(trial: str, copies: Sequence[_PolicyCopy]) -> str:
    tags = _tags(copies)
    if trial in tags:
        return trial
    numbered = [tag for tag in tags if trial.isdecimal() and _number(tag) == _number(trial)]
    if len(numbered) != 1:
        raise UnknownName(f"no trial {trial!r}, there are {', '.join(map(repr, tags))}")
    return numbered[0]


def _segments_of(changes: Sequence[tuple[int, Segment]], total: int) -> tuple[Segment, ...]:
    """Turn changes of config into segments.

    A copy that takes weights from before an earlier change undoes that change, and what comes
    after the end was never trained.
    """
    kept: list[tuple[int, Segment]] = []
    for step, segment in changes:
        while kept and kept[-1][0] >= step:
            kept.pop()
        kept.append((step, segment))
    kept = [(step, segment) for step, segment in kept if step < total]
    ends = [*(step for step, _ in kept[1:]), total]
    return joined(
        Segment(step, end - step, segment.hyperparameters, segment.member)
        for (step, segment), end in zip(kept, ends, strict=True)
    )


def _trained(path: Path, tag: str) -> int:
    """Return how many iterations Ray trained a trial, by the results beside its log."""
    named, number = path.stem.removeprefix(_POLICY), _number(tag)
    ending = named if path.stem != named else f"_{number:05d}" if number is not None else tag
    for file in sorted(path.parent.glob("*/result.json")):
        result = _last_result(file)
        if str(result.get("trial_id", "")).endswith(ending):
            return check_count(
                f"{file}: training_iteration", result.get("training_iteration"), least=1
            )
    raise ConfigError(
        f"a log does not say how long trial {tag!r} was trained, and its result.json does not lie "
        "in a directory beside it: say how long with total= (--iterations)"
    )


def _last_result(file: Path) -> Mapping[str, Any]:
    lines = read_text(file).splitlines()
    try:
        result = json.loads(lines[-1]) if lines else {}  # metrics may be NaN here
    except ValueError:  # Ray was killed as it wrote this line
        result = json.loads(lines[-2]) if len(lines) > 1 else {}
    return result if isinstance(result, Mapping) else {}


def _number(tag: str) -> int | None:
    digits = re.match(r"\d{1,9}(?!\d)", tag)
    return int(digits[0]) if digits else None


def _tag(segment: Segment) -> str:
    return "schedule" if segment.member is None else str(segment.member)
