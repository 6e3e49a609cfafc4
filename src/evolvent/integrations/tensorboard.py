"""TensorBoard: one run for every member, which goes on through all its copies.

Example:
    While it trains, or afterwards from the log::

        study.run(train, loggers=[ev.tensorboard.Logger("runs")])
        # tensorboard --logdir runs

What is in the event files follows from the log of the study and from nothing else. A file that is
there already is read back to its last whole round, cut there and continued: nothing is lost and
nothing is written twice, wherever the last writer died.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evolvent.core.records import Value
from evolvent.engines.loggers import protocol
from evolvent.engines.loggers.protocol import By, Entry, SettingValues, StepAxis, StudyProgress
from evolvent.errors import ConfigError, MissingExtra
from evolvent.store.atomic_write import replacing
from evolvent.store.locks import Lock
from evolvent.store.records import StudyState, StudyStatus

try:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams import metadata as hparams
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    from evolvent.integrations.event_file import EventFile, record, scalar, text
except ImportError as e:
    raise MissingExtra(
        "ev.tensorboard needs TensorBoard: pip install 'evolvent[tensorboard]'"
    ) from e

_ENDS = {
    StudyState.FINISHED: api_pb2.STATUS_SUCCESS,
    StudyState.FAILED: api_pb2.STATUS_FAILURE,
}


class Logger:
    """Writes a study into event files: `directory/<study>/m<member>/`.

    Steps are rounds times `steps_per_round`, because TensorBoard knows whole steps only: by default
    the 5th round of a member ends at step 5000, and what its training logged half-way stands at
    4500. Scalars are the metrics, the hyperparameters (`hyperparameters/…`; of a category its place
    in the list), `evolvent/weights_age` in rounds and, in rounds that began with a copy,
    `evolvent/copied_from` (the member). The HParams tab shows the first and the last
    hyperparameters of every run beside the metric; the Text tab who copied whom, and why.
    """

    def __init__(
        self, directory: str | Path = "runs", *, by: By = "member", steps_per_round: int = 1000
    ) -> None:
        """Set up; nothing is written before the study is opened.

        Args:
            directory: to be given to `tensorboard --logdir`; made if it is not there.
            by: `"member"`, or `"lineage"` for a run for every unbroken line of weights.
            steps_per_round: whole steps of a round: such as your own training steps in a round.

        Raises:
            ConfigError: names the argument, what came and what was wanted.
        """
        self._directory = protocol.local_directory(directory)
        self._axis = StepAxis(by, steps_per_round)
        self._lock: Lock | None = None
        self._summary: _Summary | None = None

    @property
    def place(self) -> str:
        return f"TensorBoard in {self._directory}"

    def check(self, status: StudyStatus) -> None:
        """Make the directory of the study.

        Raises:
            ConfigError: it cannot be written, or holds another study or another axis.
        """
        root = self._root(status)
        protocol.make_directory(root)
        _check_same(root / "evolvent.json", protocol.identity(status, self._axis))

    def open(self, status: StudyStatus) -> None:
        """Take the directory of the study.

        Raises:
            EvolventError: another process is writing there.
        """
        self._summary = None
        self.check(status)
        self._status, root = status, self._root(status)
        # Before any file is read: two writers would each cut off what the other has added.
        self._lock = self._lock or protocol.lock_for_writing(root / ".evolvent.lock")
        self._values = SettingValues(status.record.space)
        self._files: dict[str, EventFile] = {}
        self._summary = _Summary(root, status, self._axis)

    def write(self, entries: Sequence[Entry]) -> None:
        """Append what the files lack."""
        new: dict[str, list[bytes]] = {}
        for entry in entries:
            run = self._axis.run(entry)
            file = self._file(run)
            if self._axis.step(entry) > file.last_step:
                new.setdefault(run, []).extend(self._records(entry, first=file.is_empty))
                file.is_empty = False
        for run, records in new.items():
            self._files[run].append(records)
        if self._summary is not None:
            self._summary.write(entries)

    def close(self, status: StudyStatus) -> None:
        """Write how it ended, and let the directory go."""
        if self._lock is None:
            return
        if self._summary is not None:
            self._summary.close()
            for file in self._files.values() if status.state in _ENDS else ():
                file.append_end([_session_end(status)])
        self._lock.release()
        self._lock = self._summary = None

    def _root(self, status: StudyStatus) -> Path:
        return self._directory / protocol.file_name(status.record.name)

    def _file(self, run: str) -> EventFile:
        if run not in self._files:
            self._files[run] = EventFile(self._root(self._status) / run, mark=protocol.AGE)
        return self._files[run]

    def _records(self, entry: Entry, *, first: bool) -> list[bytes]:
        records = [self._session_start(entry)] if first else []
        for place, logged in entry.points:
            points = [scalar(name, value) for name, value in logged.items()]
            records.append(record(points, step=self._axis.step(entry, place), at=entry.at(place)))
        values = [scalar(name, value) for name, value in self._values.of(entry).items()]
        change = protocol.change_text(entry)
        if change is not None:
            values.append(text("evolvent/change", change))
        return [*records, record(values, step=self._axis.step(entry), at=entry.at(1.0))]

    def _session_start(self, entry: Entry) -> bytes:
        data = HParamsPluginData()
        start = data.session_start_info
        start.group_name = f"{self._status.record.name}, {self._axis.run(entry)}"
        start.start_time_secs = entry.at(0.0)
        for name in self._values.varied:
            if name in entry.job.hyperparameters:
                _put(start.hparams[name], entry.job.hyperparameters[name])
        return record([_hparams(hparams.SESSION_START_INFO_TAG, data)], step=0, at=entry.at(0.0))


class _Summary:
    """The run of the study itself: settings, the best so far, and who copied whom."""

    def __init__(self, root: Path, status: StudyStatus, axis: StepAxis) -> None:
        self._file = EventFile(root, mark=protocol.COPIES)
        self._tracker = protocol.ProgressTracker(status.record)
        self._status, self._axis = status, axis
        self._at = status.created_at

    def write(self, entries: Sequence[Entry]) -> None:
        new = [self._start()] if self._file.is_empty and entries else []
        self._file.is_empty = False
        for entry in entries:
            self._at = entry.at(1.0)
            progress = self._tracker.take(entry)
            if progress is not None and self._step(progress) > self._file.last_step:
                values = [scalar(protocol.COPIES, len(progress.copies)), *_copies_text(progress)]
                if progress.best is not None:
                    values.append(scalar(protocol.BEST, progress.best))
                new.append(record(values, step=self._step(progress), at=self._at))
        self._file.append(new)

    def close(self) -> None:
        """Tell the copies since the last whole round, too; the next writer will replace them."""
        progress = self._tracker.now()
        if progress.copies:
            copies = record(_copies_text(progress), step=self._step(progress), at=self._at)
            self._file.append_end([copies])

    def _step(self, progress: StudyProgress) -> int:
        return int(progress.rounds * self._axis.steps_per_round)

    def _start(self) -> bytes:
        about = self._status.record
        settings = protocol.settings(about).items()
        rows = "\n".join(f"| {name} | `{value}` |" for name, value in settings)
        summary = text(
            "evolvent/study", f"**{about.name}**\n\n| setting | value |\n|---|---|\n{rows}"
        )
        experiment = _hparams(hparams.EXPERIMENT_TAG, _experiment(self._status))
        return record([summary, experiment], step=0, at=self._status.created_at)


def _copies_text(progress: StudyProgress) -> list[Summary.Value]:
    if not progress.copies:
        return []
    return [text("evolvent/who_copied_whom", "\n".join(progress.copies))]


def _experiment(status: StudyStatus) -> HParamsPluginData:
    """Return the columns of the HParams tab: the metric, first and last hyperparameters."""
    data = HParamsPluginData()
    values = SettingValues(status.record.space)
    for name in values.varied:
        kind = api_pb2.DATA_TYPE_STRING if name in values.listed else api_pb2.DATA_TYPE_FLOAT64
        data.experiment.hparam_infos.add(
            name=name, display_name=f"{name} (first)", type=kind, differs=True
        )
    metrics = {status.record.metric: status.record.metric}
    metrics |= {protocol.HYPERPARAMETERS + name: f"{name} (last)" for name in values.varied}
    for tag, shown in metrics.items():
        data.experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag), display_name=shown)
    data.experiment.time_created_secs = status.created_at
    return data


def _session_end(status: StudyStatus) -> bytes:
    at = status.changed_at or status.created_at
    data = HParamsPluginData()
    data.session_end_info.status = _ENDS[status.state]
    data.session_end_info.end_time_secs = at
    return record([_hparams(hparams.SESSION_END_INFO_TAG, data)], step=0, at=at)


def _hparams(tag: str, data: HParamsPluginData) -> Summary.Value:
    data.version = hparams.PLUGIN_DATA_VERSION
    metadata = SummaryMetadata()
    metadata.plugin_data.plugin_name = hparams.PLUGIN_NAME
    # A map has an order of its own in every process: here it is to be the same again.
    metadata.plugin_data.content = data.SerializeToString(deterministic=True)
    return Summary.Value(tag=tag, metadata=metadata, tensor=hparams.NULL_TENSOR)


def _put(field: Any, value: Value) -> None:
    """Set a value of protobuf's own kind of JSON; what has no column type there becomes text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        field.number_value = value
    else:
        field.string_value = str(value)


def _check_same(path: Path, wanted: dict[str, Any]) -> None:
    """Remember what a directory holds; refuse to mix it with anything else."""
    if not path.exists():
        # There when it is whole: half of it, after a crash, would refuse this very study.
        with replacing(path) as beside:
            beside.write_text(json.dumps(wanted))
        return
    there = json.loads(path.read_text())
    differing = [name for name, value in wanted.items() if there.get(name) != value]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"directory: {path.parent} holds a study with {name}={there.get(name)!r}, this one has "
            f"{name}={wanted[name]!r}: choose another directory, or remove that one"
        )
