"""Weights & Biases: one run for every member, in a group named as the study; works offline.

Example:
    While it trains, or afterwards from the log::

        study.run(train, loggers=[ev.wandb.Logger(project="digits")])
        # wandb sync wandb/offline-run-*   if it was offline

Every row has a step that follows from the log, so a run that is taken up again gets the rows that
it lacks and no others: its newest step is read from the server or, offline, from its files.
"""

from __future__ import annotations

import netrc
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from evolvent.engines.loggers import protocol
from evolvent.engines.loggers.protocol import By, Entry, SettingValues, StepAxis
from evolvent.errors import ConfigError, EvolventError, MissingExtra
from evolvent.store.locks import Lock
from evolvent.store.records import StudyStatus
from evolvent.validation import check_choice, check_name

try:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
    import wandb

    from evolvent.integrations.wandb_file import is_whole, newest_step
except ImportError as e:
    raise MissingExtra("ev.wandb needs Weights & Biases: pip install 'evolvent[wandb]'") from e

Mode: TypeAlias = Literal["online", "offline", "disabled"]

_POSITION = "evolvent/position"
_ROWS_PER_ROUND = 1_000_000  # rows that a round may have: the last is its end, the others points
_MAX_OPEN = 256
_FINISH_TIMEOUT_S = 30.0
_SERVER = "https://api.wandb.ai"


class Logger:
    """Writes a study into Weights & Biases.

    The axis of all charts is `evolvent/position`: rounds, with what training logged within a round
    at fractional places. Rows hold the metrics, the hyperparameters (`hyperparameters/…`; of a
    category its place in the list), `evolvent/weights_age` in rounds and, in rounds that began with
    a copy, `evolvent/copied_from` (the member). The config tells the settings of the study, the
    first hyperparameters of the run and those in force, and its newest change with the reason.

    All runs share one process of Weights & Biases. Nothing is ever asked for on the terminal.
    """

    def __init__(
        self,
        directory: str | Path = ".",
        *,
        project: str = "evolvent",
        entity: str | None = None,
        mode: Mode | None = None,
        by: By = "member",
        steps_per_round: int = 1,
    ) -> None:
        """Set up; nothing is written before the study is opened.

        Args:
            directory: where `wandb/` with its files is made.
            project: name of the project.
            entity: user or team; by default that of the API key.
            mode: `"online"`, `"offline"` or `"disabled"`; by default WANDB_MODE, or online if there
                is an API key (WANDB_API_KEY, or `wandb login`), or else offline.
            by: `"member"`, or `"lineage"` for a run for every unbroken line of weights.
            steps_per_round: length of a round on the axis: such as your training steps in a round.

        Raises:
            ConfigError: names the argument, what came and what was wanted.
        """
        self._directory = protocol.local_directory(directory)
        self._project = check_name("project", project)
        self._entity = entity
        self._mode = _mode(mode)
        self._axis = StepAxis(by, steps_per_round)
        self._lock: Lock | None = None
        self._runs: dict[str, wandb.Run] = {}

    @property
    def place(self) -> str:
        return f"Weights & Biases {self._mode} in {self._directory}"

    def check(self, status: StudyStatus) -> None:  # noqa: ARG002 - any study will do
        """Make the directory.

        Raises:
            ConfigError: it cannot be written.
        """
        protocol.make_directory(self._directory / "wandb")

    def open(self, status: StudyStatus) -> None:
        """Take the directory, and find what runs it holds."""
        self.check(status)
        self._finish_all()
        lock = f".{protocol.file_name(status.record.name)}.lock"
        self._lock = self._lock or protocol.lock_for_writing(self._directory / "wandb" / lock)
        self._status, self._values = status, SettingValues(status.record.space)
        self._key = protocol.key(status, self._axis)
        self._next: dict[str, int] = {}
        self._first: dict[str, Mapping[str, Any]] = {}

    def write(self, entries: Sequence[Entry]) -> None:
        """Add the rows that the runs lack."""
        by_run: dict[str, list[Entry]] = {}
        for entry in entries:
            name = self._axis.run(entry)
            self._first.setdefault(name, dict(entry.job.hyperparameters))
            by_run.setdefault(name, []).append(entry)
        for name, run_entries in by_run.items():
            self._write(name, run_entries)

    def close(self, status: StudyStatus) -> None:  # noqa: ARG002 - runs end when nobody writes
        """Finish all runs: everything is on disk, or uploaded."""
        self._finish_all()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write(self, name: str, entries: Sequence[Entry]) -> None:
        if name not in self._next and self._mode == "offline":
            self._next[name] = newest_step(self._directory / "wandb", self._id(name)) + 1
        lacking = [e for e in entries if _last_step(e) >= self._next.get(name, 0)]
        if not lacking:
            return
        run = self._run(name)
        for entry in lacking:
            for step, row in self._rows(entry):
                if step >= self._next[name]:
                    run.log(row, step=step)
            self._next[name] = _last_step(entry) + 1
        now = _config_of(lacking)
        run.config.update(now, allow_val_change=True)  # type: ignore[no-untyped-call]  # theirs

    def _rows(self, entry: Entry) -> Iterator[tuple[int, dict[str, Any]]]:
        first = entry.job.round * _ROWS_PER_ROUND
        for i, (place, values) in enumerate(entry.points[: _ROWS_PER_ROUND - 1]):
            yield first + i, self._row(entry, place, values)
        yield _last_step(entry), self._row(entry, 1.0, self._values.of(entry))

    def _row(self, entry: Entry, place: float, values: Mapping[str, float]) -> dict[str, Any]:
        position = (self._axis.rounds(entry) - 1 + place) * self._axis.steps_per_round
        return {**values, _POSITION: position, "_timestamp": entry.at(place)}

    def _run(self, name: str) -> wandb.Run:
        """Return the live run of that name; the one that was used longest ago makes room for it."""
        run = self._runs.pop(name, None) or self._start(name)
        self._runs[name] = run
        # The one used longest ago stands first: it was taken out and put back at every use.
        if len(self._runs) > _MAX_OPEN:
            self._finish(next(iter(self._runs)))
        return run

    def _start(self, name: str) -> wandb.Run:
        id, study = self._id(name), self._status.record
        _wait_for_next_second(self._directory / "wandb", id)
        run = self._runs[name] = wandb.init(
            project=self._project, entity=self._entity, id=id, resume="allow", name=name,
            group=study.name, settings=self._settings(),
            config={
                "study": {"name": study.name, **protocol.settings(study)},
                "initial": self._first[name],
            },
            allow_val_change=True,
        )  # fmt: skip
        run.define_metric(_POSITION, hidden=True)
        run.define_metric("*", step_metric=_POSITION)
        self._next[name] = max(self._next.get(name, 0), run.step)
        return run

    def _settings(self) -> wandb.Settings:
        """Return settings that leave the terminal, the machine and the user's own runs alone."""
        return wandb.Settings(
            mode=self._mode, root_dir=str(self._directory.absolute()), reinit="create_new",
            console="off", silent=True, disable_git=True, disable_code=True,
            disable_job_creation=True, x_disable_stats=True, x_disable_meta=True,
        )  # fmt: skip

    def _id(self, name: str) -> str:
        return f"{self._key}-{name}"

    def _finish_all(self) -> None:
        for name in list(self._runs):
            self._finish(name)

    def _finish(self, name: str) -> None:
        """End a run; wait for its file, which comes a moment after, for we go by what it holds."""
        run = self._runs.pop(name)
        run.finish()
        file = Path(run.dir).parent / f"run-{run.id}.wandb"
        deadline = time.monotonic() + _FINISH_TIMEOUT_S
        while self._mode == "offline" and not is_whole(file):
            if time.monotonic() > deadline:
                raise EvolventError(
                    f"{file} has not been written to its end in {_FINISH_TIMEOUT_S:g} s"
                )
            time.sleep(0.01)


def _last_step(entry: Entry) -> int:
    return (entry.job.round + 1) * _ROWS_PER_ROUND - 1


def _config_of(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the values in force after these entries, and the newest change among them."""
    config: dict[str, Any] = {"hyperparameters": dict(entries[-1].job.hyperparameters)}
    for entry in entries:
        if entry.copied is not None:
            config["copied_from"] = str(entry.copied)
        change = protocol.change_text(entry)
        if change is not None:
            config["change"] = change
    return config


def _mode(wanted: Mode | None) -> Mode:
    asked = wanted or os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    mode: Mode = check_choice("mode", asked, ("online", "offline", "disabled"))
    if mode == "online" and not _has_key():
        raise ConfigError(
            "mode: got 'online', but there is no API key: run `wandb login`, set WANDB_API_KEY, or "
            "use mode='offline' and upload later with `wandb sync`"
        )
    return mode


def _has_key() -> bool:
    """Whether Weights & Biases will find an API key where it looks, without asking anybody."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _SERVER)).hostname or ""
    places = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for path in (Path(place).expanduser() for place in places if place):
        try:
            return netrc.netrc(path).authenticators(host) is not None
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _wait_for_next_second(root: Path, id: str) -> None:
    """Let the second pass that names a directory which is there: runs are named by seconds."""
    while any(root.glob(f"*run-{time.strftime('%Y%m%d_%H%M%S')}-{id}")):
        time.sleep(0.05)
