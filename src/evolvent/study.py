"""One study: run it, steer it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.study import StudyRecord
from evolvent.derived_studies import control_record, find_or_create
from evolvent.engines.local.options import LocalOptions, local_options
from evolvent.engines.observer import Observer
from evolvent.engines.trainable import AnyTrainable, check_importable, import_path, with_params
from evolvent.errors import ConfigError, UnknownJob
from evolvent.store.checkpoints.transfer import require
from evolvent.store.interventions import Intervention
from evolvent.store.protocol import Store
from evolvent.store.records import (
    FailedAttempt,
    MemberView,
    Point,
    StudyStatus,
    check_state,
    nested,
)
from evolvent.validation import MOST, check_choice, check_count, check_number

if TYPE_CHECKING:
    # Who makes a study need not run it, and who runs it need not read it: each imports what it
    # takes, or these would be more than half of what is imported.
    from evolvent.analysis.comparison.replay_report import ReplayReport
    from evolvent.analysis.explain.explain import Explanation
    from evolvent.analysis.schedule.schedule import Schedule
    from evolvent.engines.ask import AskedJob
    from evolvent.engines.loggers.protocol import Logger
    from evolvent.result import Result


class Study:
    """A study in a store. Holds nothing itself: everything is read from the log when asked for."""

    def __init__(self, store: Store, id: int) -> None:
        self.store = store
        self.id = id

    @property
    def record(self) -> StudyRecord:
        """The settings, with `rounds` and `target` as they are now."""
        return self.status().record

    @property
    def name(self) -> str:
        return self.record.name

    def status(self) -> StudyStatus:
        """Return how the study stands: counts of jobs by state, the best, why it stopped."""
        return self.store.status(self.id)

    def result(self) -> Result:
        """Return what the study has come to so far."""
        return self._result(self.status())

    def jobs(self, state: JobState | str | None = None) -> list[JobRecord]:
        """Return the jobs in the order in which they finished, then the open ones by member.

        One whose worker is lost is still running: `study.status().lost_s(job)` tells. Read the
        status first.
        """
        status, wanted = self.status(), check_state(state)
        states = None if wanted is None else [wanted]
        return [nested(job, status) for job in self.store.jobs(self.id, states=states)]

    def job(self, id: str) -> JobRecord:
        """Return one job by its id, such as `m3r12`.

        Raises:
            UnknownJob: there is none of that id.
        """
        return nested(self.store.job(self.id, JobId.parse(id)), self.status())

    def members(self) -> list[MemberView]:
        """Return the newest finished and the open job of every member."""
        return self.store.members(self.id)

    def lineage(self, id: str) -> list[JobRecord]:
        """Return a job and its ancestors, round 0 first."""
        status = self.status()
        return [nested(job, status) for job in self.store.lineage(self.id, JobId.parse(id))]

    def explain(self, id: str) -> Explanation:
        """Return why a job exists: who was compared with whom, which rule fired, what changed.

        Raises:
            UnknownJob: there is none of that id; says which there are.
        """
        return self.result().explain(id)

    def points(self, id: str) -> list[Point]:
        """Return what training logged within a job."""
        return self.store.points(self.id, JobId.parse(id))

    def failures(self) -> list[FailedAttempt]:
        """Return the newest failed attempts, the newest last."""
        return self.store.failures(self.id)

    def interventions(self) -> list[Intervention]:
        """Return what people did to the study, the newest last: each with when, and by whom.

        Stops and resumes, new rounds and targets, pushes. `print(*(i.words for i in …))` says them.
        """
        return self.store.interventions(self.id)

    def checkpoint(self, id: str) -> Path:
        """Return the directory of a job's checkpoint after checking every byte of it.

        Raises:
            UnknownJob: there is no such job, or it has no checkpoint.
            CheckpointMissing: it has been collected, because nothing needed it and no pin held it.
            CheckpointDamaged: names the damaged file.
        """
        job = self.job(id)
        if job.checkpoint is None:
            raise UnknownJob(f"job {id} is {job.state} and has no checkpoint")
        return require(self.store.checkpoints(self.id), job.id, job.checkpoint, verify=True)

    def export(self, path: str | Path, *, checkpoints: str | Iterable[str] = "best") -> Path:
        """Write the study as it is now into one file, which `ev.import_study` opens anywhere.

        It may be running meanwhile. The file is a zip: settings and log as JSON lines, files of
        checkpoints as training saved them. An archive that is there already is replaced.

        Args:
            path: name of the file, such as `digits.zip`.
            checkpoints: which ones come along: `"best"`, that of the best job; `"kept"`, all that
                the study needs to go on; `"pinned"`; `"none"`; or ids of jobs.

        Returns:
            The path.

        Raises:
            ConfigError: `checkpoints` is none of these.
            UnknownJob: a job of that id is not done.
            CheckpointMissing, CheckpointDamaged: names the job and the address.
            ArchiveError: the file cannot be written; what was there before still is.
        """
        from evolvent.store.archive.export import export_study, parse_choice

        export_study(self.store, self.id, path, checkpoints=parse_choice(checkpoints))
        return Path(path)

    def run(  # noqa: PLR0913 - one keyword for every option
        self,
        trainable: AnyTrainable | str,
        *,
        workers: int | None = None,
        devices: Sequence[str] | None = None,
        per_device: int = 1,
        engine: str = "local",
        threads: int | None = None,
        lease_s: float = 30.0,
        hang_s: float | None = 600.0,
        wall_time_s: float | None = None,
        grace_s: float | None = None,
        params: Mapping[str, Any] | None = None,
        keep_alive: int = 1,
        log_dir: str | Path | None = None,
        isolate_devices: bool = False,
        progress: bool | Observer = True,
        loggers: Sequence[Logger] = (),
    ) -> Result:
        """Start the study or go on with it, until it is over; return what it has come to.

        Ctrl-C once (or SIGTERM, to this process or to all) finishes the running jobs and returns;
        twice stops at once, and so does the end of `grace_s`. All three, and kill -9, can be
        followed by another `run`. A worker ends as any program does, with its `atexit` hooks, for
        up to ten seconds. A study that has reached its target is over.

        Args:
            trainable: a function of a `Job`, a `Trainable` class, or `"module:name"` of either.
            workers: processes to start; 0 runs in this process. By default one for every device
                slot, or one for every core, at most one for every member.
            devices: such as `["cuda:0", "cuda:1"]`, dealt to the workers as `job.device`.
            per_device: how many workers share a device.
            engine: `"local"`.
            threads: of each worker's numeric libraries, where the script has not told them itself
                (`torch.set_num_threads`). By default what the environment says
                (`OMP_NUM_THREADS`), or the cores shared out; a synchronous study takes 1, because
                results may depend on it in the last bit.
            lease_s: seconds after which the job of a silent worker is given to another.
            hang_s: seconds of silence after a first `job.heartbeat()` that count as a hang.
            wall_time_s: hand out no more jobs after so many seconds; with a worker's token, none to
                this run.
            grace_s: seconds that Ctrl-C or SIGTERM leaves to the running jobs; then they go back to
                the queue, and count as no failure. Give less than a scheduler waits until it kills.
                None: as long as they take.
            params: arguments by name for the training code: of its function, or of `setup` of its
                class. They go to every worker: give the path of data and not the data.
            keep_alive: how many objects of a class a worker keeps, each with a model. With one it
                is moved from member to member by `load`; with as many as members, each goes on
                where it was. 0: an object is set up whenever another member is trained.
            log_dir: directory in which what worker 0 prints goes to the end of `worker-0.log`, and
                so on; nothing of it is shown then.
            isolate_devices: let the worker of `"cuda:1"` see no CUDA device but that one (by
                `CUDA_VISIBLE_DEVICES`), under the name `"cuda:0"`: for JAX and TensorFlow, which
                take all that they see.
            progress: show a table and a bar (plain lines when piped), and at the end what the log
                warns of (see `Result.diversity`); or an observer of your own. Neither stops
                training: where nothing can be shown any more, it is switched off. False: show what
                workers print, and no more.
            loggers: such as `[ev.tensorboard.Logger("runs")]`; they follow the log and never stop
                training.

        Raises:
            ConfigError: an argument or an explore function is not usable; nothing has been started.
            DecisionError: that function failed later; mend it and run again, no round is lost.
            TrainableError: training code broke its contract; mend it and run again.
            AllMembersFailed: no member is left; shows the last traceback.
        """
        from evolvent.engines.local.lifecycle import open_for_run
        from evolvent.engines.loggers.follower import with_loggers
        from evolvent.running import check_run, observer_of, train

        check_choice("engine", engine, ("local",))
        options = local_options(
            self.record,
            workers=workers,
            devices=devices,
            per_device=per_device,
            threads=threads,
            lease_s=lease_s,
            hang_s=hang_s,
            wall_time_s=wall_time_s,
            grace_s=grace_s,
            keep_alive=keep_alive,
            log_dir=log_dir,
            isolate_devices=isolate_devices,
        )
        code = with_params(trainable, params)
        check_run(self.store, self.record, code, options)
        observer = with_loggers(
            observer_of(self.store, self.id, progress), self.store, self.id, loggers
        )
        open_for_run(self.store, self.status(), trainable=import_path(code))
        return train(self.store, self.id, code, options, observer, warns=bool(progress))

    def join(
        self,
        trainable: AnyTrainable | str,
        *,
        options: LocalOptions,
        params: Mapping[str, Any] | None = None,
        progress: bool | Observer = True,
    ) -> Result:
        """Work on the study as it stands: as `run`, but a stopped study stays stopped."""
        from evolvent.running import check_run, observer_of, train

        code = with_params(trainable, params)
        check_run(self.store, self.record, code, options)
        observer = observer_of(self.store, self.id, progress)
        return train(self.store, self.id, code, options, observer)

    def replay(
        self,
        schedule: Schedule | str | Path | None = None,
        trainable: AnyTrainable | str | None = None,
        *,
        seeds: int = 3,
        rounds: int | None = None,
        name: str | None = None,
        last_only: bool = True,
        **options: Any,
    ) -> ReplayReport:
        """Train fresh models under a schedule, and hold them against the best of this study.

        They are a study of their own, a member for each seed; those with the last hyperparameters
        only are a second one, `<name>-last`, with the same seeds. A call that was cut short is
        gone on with by the same call.

        Args:
            schedule: or a file of one: `.json`, `.csv`, or Ray's `pbt_policy_<trial>.txt`; by
                default that of the best job.
            trainable: as with `run`; by default what the study remembers.
            seeds: how many models are trained alike, 1 or more.
            rounds: how long they train; the schedule is stretched or shrunk to it.
            name: of the study that is made; by default `<this study>-replay`.
            last_only: train models with the last hyperparameters only, too.
            options: as with `run`, for each of the two studies.

        Raises:
            OutOfSpace: the schedule does not fit the space; says where.
            StudyExists: the name is taken, by a replay of another schedule for instance.
        """
        from evolvent.replay import ReplayRequest, replay

        request = ReplayRequest(
            schedule=schedule, seeds=seeds, rounds=rounds, name=name, last_only=last_only
        )
        code = self._trainable_or_remembered(trainable)
        if isinstance(code, str):
            check_importable(code)

        def train(id: int) -> Result:
            return Study(self.store, id).run(code, **options)

        return replay(self.store, self.status(), request, train=train)

    def control(self, name: str | None = None) -> Study:
        """Make the control arm, a random search, or find it; `run` trains it.

        It has the same first members (pushed ones too), seed and rounds, and no target. Of a study
        that was stopped before its end it gets the jobs that were trained, shared out and rounded
        up to whole rounds of all members; `ev.compare` looks at equally many of both.

        Args:
            name: of the study that is made; by default `<this study>-control`.

        Raises:
            StudyExists: the name is taken by another study.
        """
        record = control_record(self.store, self.status(), name=name)
        return Study(self.store, *find_or_create(self.store, record))

    def _trainable_or_remembered(self, trainable: AnyTrainable | str | None) -> AnyTrainable | str:
        code = self.record.trainable if trainable is None else trainable
        if code is None:
            raise ConfigError(
                f"trainable: got none, and study {self.name!r} does not remember one: wanted a "
                "function, a Trainable class, or 'module:name' of either"
            )
        return code

    def next_job(self, *, wait: bool = False, timeout_s: float | None = None) -> AskedJob | None:
        """Claim a job for a loop of your own: `while job := study.next_job(wait=True):`.

        Args:
            wait: wait until there is a job, or the study is over.
            timeout_s: wait at most so many seconds.

        Returns:
            The job, to be used in a `with` block; None when there is none. With `wait` and without
            `timeout_s` that is the end. Else it may mean later: others train what the next round
            waits for. As long as `study.status().state` is `"open"` there is more to come.
        """
        from evolvent.engines.ask import ask

        return ask(self.store, self.id, wait=wait, timeout_s=timeout_s)

    def push(
        self,
        hyperparameters: Mapping[str, Any],
        *,
        metrics: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
    ) -> JobId:
        """Add a member with hyperparameters given by hand; what they leave out is drawn.

        With `metrics` and `checkpoint` it is a model that was trained elsewhere: its round 0 is
        done and can be copied at once, so all hyperparameters must be given.

        Args:
            hyperparameters: flat or nested.
            metrics: what the model reached, the study's metric among them.
            checkpoint: directory with its files, which are copied.

        Raises:
            OutOfSpace: names the hyperparameter, what came and what was wanted.
            ConfigError: names the argument; one of `metrics` and `checkpoint` without the other.
        """
        from evolvent.engines.push import push_done

        if metrics is None and checkpoint is None:
            return self.store.push(self.id, self.record.space.check(hyperparameters, partial=True))
        return push_done(self.store, self.id, hyperparameters, metrics, checkpoint)

    def stop(self, reason: str = "stopped by hand") -> None:
        """Give out no more jobs; running ones may still finish. `run` and `resume` undo it."""
        self.store.stop(self.id, reason=reason)

    def resume(self) -> None:
        """Give out jobs again; in a failed study every member starts from its last checkpoint."""
        self.store.resume(self.id)

    def extend(self, rounds: int) -> None:
        """Set the total number of rounds of every member; a finished study goes on with `run`.

        Raises:
            ConfigError: fewer rounds than have been trained.
        """
        self.store.extend(self.id, rounds=check_count("rounds", rounds, least=1, most=MOST))

    def retarget(self, target: float | None) -> None:
        """Set the value of the metric at which the study stops; None for no target."""
        checked = None if target is None else check_number("target", target)
        self.store.retarget(self.id, target=checked)

    def pin(self, id: str) -> None:
        """Keep the checkpoint of a job until `unpin`."""
        self.store.pin(self.id, JobId.parse(id))

    def unpin(self, id: str) -> None:
        """Let the checkpoint of a job go when nothing else needs it."""
        self.store.unpin(self.id, JobId.parse(id))

    def collect(self) -> int:
        """Remove checkpoints and leftovers that nothing needs; return the bytes freed."""
        return self.store.collect(self.id)

    def delete(self) -> None:
        """Remove the study with its log and its checkpoints."""
        self.store.delete_study(self.id)

    def _result(self, status: StudyStatus, *, interrupted: bool = False) -> Result:
        from evolvent.result import Result

        return Result(status, self.store, interrupted)

    def _repr_html_(self) -> str:
        from evolvent.analysis.html import study_html

        return study_html(self.status(), self.members(), self.store.url)

    def __repr__(self) -> str:
        return f"<Study {self.name!r} in {self.store.url}>"
