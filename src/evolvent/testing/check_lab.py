"""Runs the rounds from which `check_trainable` draws its conclusions."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolvent.core.distributions import Constant
from evolvent.core.records import JobId
from evolvent.core.rng import stream, training_seed
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.core.values import identity
from evolvent.engines.job import Job
from evolvent.engines.metrics import kept_metrics
from evolvent.engines.place.copies import explained
from evolvent.engines.runner import Runner
from evolvent.engines.trainable import AnyTrainable
from evolvent.errors import CheckpointError, ConfigError, TrainableError
from evolvent.store.checkpoints import files as tree
from evolvent.store.records import Failure, FailureKind
from evolvent.testing.check_optimizers import OptimizerWatch, Settings
from evolvent.testing.check_reads import RecordedReads
from evolvent.testing.check_values import Kind, differing, has_arrays, times
from evolvent.validation import cut

_DRAWS = 101
_NEAR, _FAR = (4, 6), (1, 9)
"""Tenths of what a distribution draws, in order, at which its two values lie."""
_LONGEST = 600
"""So much of a message is told: PyTorch's has the first parameters that do not fit, and shapes."""


class TrainingRaised(Exception):
    """Training code raised; the message says what and where."""


@dataclass(frozen=True, slots=True)
class ProbeValues:
    """Sets of hyperparameters, flat, and how the trainable gets to see them.

    Attributes:
        a, b: two sets from the middle of the space: at its ends training diverges or stands still.
        wider: two that lie further apart; a and b where just these were given.
        given: nests them as the space is.
    """

    a: dict[str, Any]
    b: dict[str, Any]
    wider: tuple[dict[str, Any], dict[str, Any]]
    given: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    @classmethod
    def of(
        cls, given: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, seed: int
    ) -> ProbeValues:
        """Take two sets as they are, or draw from a space."""
        if isinstance(given, Mapping):
            space = Space.of(given)
            near, far = (
                {name: _far_apart(d, name, seed, tenths) for name, d in space.items()}
                for tenths in (_NEAR, _FAR)
            )
            a, b = ({name: pair[i] for name, pair in near.items()} for i in (0, 1))
            c, d = ({name: pair[i] for name, pair in far.items()} for i in (0, 1))
            return cls(a, b, (c, d), space.given)
        if not isinstance(given, Sequence) or len(given) != 2:
            raise ConfigError(
                f"space: wanted a space or two sets of hyperparameters, got {cut(given)}"
            )
        a, b = map(Space.flatten, given)
        spaces = [Space({name: Constant(x) for name, x in values.items()}) for values in (a, b)]
        if a.keys() != b.keys():
            raise ConfigError(
                f"space: both sets must name the same hyperparameters, got {sorted(a)} "
                f"and {sorted(b)}"
            )
        return cls(a, b, (a, b), spaces[0].given)


@dataclass(slots=True)
class Changeable:
    """Which hyperparameters may be others than those the weights were trained with.

    Attributes:
        moved: what a study changes in copies; None: nobody knows.
        static: what a loaded model cannot change, as far as it has been found.
    """

    moved: frozenset[str] | None
    static: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return self.moved is None or name in self.moved


@dataclass(frozen=True, slots=True)
class Run:
    """What a stretch of rounds came to.

    Attributes:
        metrics: of the last round.
        directory: what was saved at its end.
        files: hashes of what was saved, by relative name.
        job: the last job.
        settings: those of the optimizers at work in the last round.
    """

    metrics: dict[str, float]
    directory: Path
    files: dict[str, str]
    job: JobId
    settings: Settings

    @property
    def has_arrays(self) -> bool:
        """Whether arrays or tensors were saved, as far as the files can be read."""
        return has_arrays(self.files, self.directory)

    @property
    def times(self) -> set[str]:
        """The names of values in the files that are a time of today."""
        return times(self.files, self.directory)

    def differs(self, other: Run) -> dict[str, Kind]:
        """Return what differs in the files, each with its kind."""
        if self.files == other.files:
            return {}
        return differing(self.files, other.files, self.directory, other.directory)


@dataclass(slots=True)
class Lab:
    """Trains members in stretches of `rounds` rounds, in directories of its own below `root`.

    Attributes:
        trained: how many rounds it has trained.
        seconds: how long they took.
        on_round: called before each.
        max_seconds: what all may take in all; None: no limit.
    """

    trainable: AnyTrainable
    values: ProbeValues
    root: Path
    rounds: int
    seed: int
    record: StudyRecord | None = None
    on_round: Callable[[], None] = lambda: None
    max_seconds: float | None = None
    _read: set[str] | None = field(default=None, init=False)
    trained: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    _first_s: float = field(default=0.0, init=False)
    _begun: float = field(init=False)
    _runs: list[Run] = field(default_factory=list, init=False)
    _altered: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._begun = time.monotonic()

    def runner(self, *, keep_alive: int = 1) -> Runner:
        """Return one whose live objects go on, and are moved, as in the study, if it is known."""
        return Runner(self.trainable, self.record, keep_alive=keep_alive)

    @property
    def round_s(self) -> float:
        """Seconds that one round takes; the first, which imports and compiles, apart."""
        if self.trained < 2:
            return self.seconds
        return (self.seconds - self._first_s) / (self.trained - 1)

    def has_time(self, stretches: int) -> bool:
        """Whether so many stretches may still be trained."""
        needed = stretches * self.rounds * self.round_s
        return self.max_seconds is None or not needed or self._spent_s + needed <= self.max_seconds

    @property
    def _spent_s(self) -> float:
        return time.monotonic() - self._begun

    def train(
        self,
        hyperparameters: Mapping[str, Any],
        *,
        start: Run | None = None,
        runner: Runner | None = None,
        first: int | None = None,
        member: int = 0,
        seed: int | None = None,
    ) -> Run:
        """Train one stretch.

        Args:
            hyperparameters: flat.
            start: go on from there; None for fresh weights.
            runner: whoever ran `start`, to go on without a load; None for a new one, that loads.
            first: number of the first round; by default the one after `start`.
            member: whose number the job has.
            seed: of the study; that of the lab by default.

        Raises:
            TrainingRaised: training code did.
        """
        own = runner if runner is not None else Runner(self.trainable)
        if first is None:
            first = 0 if start is None else start.job.round + 1
        run = start
        try:
            for round_ in range(first, first + self.rounds):
                self.on_round()
                begun = time.monotonic()
                seed_ = self.seed if seed is None else seed
                run = self._round(own, JobId(member, round_), hyperparameters, run, seed_)
                self.trained += 1
                self.seconds += time.monotonic() - begun
                if self.trained == 1:
                    self._first_s = self.seconds
        finally:
            if runner is None:
                own.close()
        assert run is not None  # there is at least one round
        return run

    def reads(self, hyperparameters: Mapping[str, Any], *, start: Run) -> set[str] | None:
        """Return the names of the hyperparameters that training reads, afresh and after a load.

        None if that cannot be seen: what notes it is no plain dict, which some libraries want.
        """
        self._read = set()
        try:
            self.train(hyperparameters)
            self.train(hyperparameters, start=start)
            return self._read
        except TrainingRaised:
            return None
        finally:
            self._read = None

    def changed(self, run: Run) -> set[str]:
        """Return the files of a checkpoint that are gone, new, or not as they were saved."""
        try:
            now = hashes(tree.read(run.directory))
        except (CheckpointError, OSError):  # removed, or something odd was added
            now = {}
        return {name for name, _ in run.files.items() ^ now.items()}

    def altered(self) -> list[str]:
        """Return the files of checkpoints that are not as they were saved."""
        self.discard()
        return sorted(self._altered)

    def discard(self, *, but: Collection[Run] = ()) -> None:
        """Remove what the runs have saved, but for some: a model may be large."""
        for run in self._runs:
            if run in but:
                continue
            self._altered |= self.changed(run)
            tree.remove(run.directory)
        self._runs = list(but)

    def _round(
        self,
        runner: Runner,
        job_id: JobId,
        hyperparameters: Mapping[str, Any],
        start: Run | None,
        seed: int,
    ) -> Run:
        directory = Path(tempfile.mkdtemp(dir=self.root, prefix=f"{job_id}-"))
        parent = None if start is None else start.job
        values = self.values.given(hyperparameters)
        job = Job(
            id=job_id,
            study="check",
            attempt=1,
            hyperparameters=values if self._read is None else RecordedReads(values, self._read),
            checkpoint=None if start is None or runner.holds(parent, values) else start.directory,
            directory=directory,
            seed=training_seed(seed, job_id.member, job_id.round),
        )
        with OptimizerWatch() as watch:
            metrics = self._metrics(runner, job, parent, start)
            watch.look_into(getattr(runner.live_object or self.trainable, "__dict__", {}))
        # Hashed at once, before anybody can go on from there: `altered` compares with this.
        run = Run(metrics, directory, _sealed(directory), job_id, watch.settings)
        if start is not None and start.files and not run.files:
            raise TrainingRaised(
                "nothing was saved, although there was something to start from: a study counts "
                "this as a failure, for the weights would be lost; save in every round"
            )
        self._runs.append(run)
        return run

    def _metrics(
        self, runner: Runner, job: Job, parent: JobId | None, start: Run | None
    ) -> dict[str, float]:
        try:
            returned = runner.run(job, parent=parent)
        except Exception as e:
            place = None if start is None else start.directory
            raised = Failure(FailureKind.RAISED, _describe(e))
            raise TrainingRaised(explained(raised, place, job.directory).message) from e
        if isinstance(returned, Failure):
            raise TrainingRaised(returned.message)
        if not isinstance(returned, Mapping):
            raise TrainingRaised(
                f"training returned {type(returned).__name__} {cut(returned)}: "
                "wanted a dict of numbers"
            )
        try:
            found = kept_metrics(returned, study="check")
            numbers = {n: x for n, x in found.items() if isinstance(x, (float, int))}
            if found and not numbers:  # one of them should be the objective: say why it is none
                kept_metrics(returned, study="check", objective=next(iter(found)))
            return numbers
        except TrainableError as e:
            raise TrainingRaised(str(e)) from e


def hashes(entries: Iterable[tree.FileEntry]) -> dict[str, str]:
    """Return what every file holds, as a hash, and where every link leads, by relative name."""
    return {e.name: e.sha256 if e.link is None else f"-> {e.link}" for e in entries}


def _sealed(directory: Path) -> dict[str, str]:
    """Make what was saved a checkpoint, as in a study: read-only, with nothing that leads out."""
    try:
        entries = tree.freeze(directory, sync=False)
    except (CheckpointError, OSError) as e:
        raise TrainingRaised(f"what was saved cannot be sealed: {e}") from e
    tree.protect(directory, [entry.name for entry in entries])
    tree.forbid_writing(directory)
    return hashes(entries)


def _describe(e: Exception) -> str:
    last = traceback.extract_tb(e.__traceback__)[-1]
    message = " ".join(str(e).split())
    where = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST - 2]} …"
    return f"{type(e).__name__}: {message} ({where})"


def _far_apart(distribution: Any, name: str, seed: int, tenths: tuple[int, int]) -> tuple[Any, Any]:
    """Return two values that the distribution draws so far from its ends."""
    rng = stream(seed, f"check {name}", 0, 0)
    drawn = (distribution.sample(rng) for _ in range(_DRAWS))
    values = list({identity(value): value for value in drawn}.values())
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return values[0], values[-1]
    values.sort()
    low, high = (values[tenth * len(values) // 10] for tenth in tenths)
    return (low, high) if low != high else (values[0], values[-1])
