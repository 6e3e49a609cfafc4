"""The public way in: create a study, load one, list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from evolvent.core.algorithms import PBT, Algorithm
from evolvent.core.exploit import is_default_exploit
from evolvent.core.explore import is_default_explore
from evolvent.core.space import Space
from evolvent.core.study import Durability, Mode, StudyRecord
from evolvent.derived_studies import check_same
from evolvent.engines.place.rerun import is_rerun
from evolvent.errors import ConfigError, Forbidden, StudyExists, UnknownStudy
from evolvent.store import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus
from evolvent.study import Study
from evolvent.validation import DEFAULT_STORE, check_count, check_flag, check_name, cut

_MAX_POPULATION = 1_000_000


def create_study(  # noqa: PLR0913 - the settings of a study, all by name
    name: str,
    *,
    metric: str,
    mode: Mode,
    space: Mapping[str, Any],
    population: int,
    rounds: int,
    seed: int = 0,
    algorithm: Algorithm | None = None,
    initial: Sequence[Mapping[str, Any]] | None = None,
    synchronous: bool = False,
    store: str | Store = DEFAULT_STORE,
    durability: Durability = "power",
    max_failures: int = 2,
    target: float | None = None,
    trainable: str | None = None,
    best: str = "score",
    resume: bool = False,
    exist_ok: bool = False,
) -> Study:
    """Write a new study into a store.

    Args:
        name: unique in the store, 1 to 100 characters.
        metric: which of the metrics that training returns is the objective.
        mode: `"max"` or `"min"`.
        space: names with distributions; nested dicts allowed, plain values are constants.
        population: how many members train, 1 or more.
        rounds: how many rounds each of them trains, 1 or more.
        seed: 0 or more; with `synchronous` it fixes the whole log, whatever the number of workers.
        algorithm: what decides after every job; `PBT()` by default, which takes smaller steps the
            more rounds there are (`help(ev.PBT.for_rounds)`).
        initial: hyperparameters given by hand for the first members; what they leave out is drawn.
        synchronous: decide for all at the end of each round, not for each when it is ready.
        store: URL (`sqlite:///path`, `memory://`) or an open store.
        durability: `"power"`: a finished job survives a power cut; `"process"`: kill -9 only.
        max_failures: how often a job that raised is tried again before its member has failed.
        target: stop when the metric reaches it; with `best="mean of N"`, when the mean of N does.
        trainable: import path of the training code, so that workers can join without being told.
        best: by what the best job is chosen. `"score"`: the highest score; `"mean of N"`, N from 2
            to 100, for noisy metrics: the highest mean of the last N scores along its lineage.
        resume: load the study of this name if there is one with the same settings; more `rounds`
            extend it, another `target` replaces its own.
        exist_ok: the same as `resume`, by the name that `pathlib` has for it.

    Raises:
        ConfigError: names the argument, what came and what was wanted; nothing has been written.
        StudyExists: the name is taken, or, with `resume`, a setting differs.
    """
    goes_on = check_flag("resume", resume) | check_flag("exist_ok", exist_ok)
    goes_on |= is_rerun()  # a worker meets at the top of a script what that has made
    given = initial or ()
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise ConfigError(f"initial: got {cut(given)}, wanted a list of dicts")
    given_algorithm = PBT() if algorithm is None else _check_algorithm(algorithm)
    record = StudyRecord(
        name=name,
        metric=metric,
        mode=mode,
        space=Space.of(space),
        algorithm=given_algorithm,
        population=check_count("population", population, least=1, most=_MAX_POPULATION),
        rounds=rounds,
        seed=seed,
        synchronous=synchronous,
        initial=tuple(given),
        durability=durability,
        max_failures=max_failures,
        target=target,
        trainable=trainable,
        best=best,
    ).checked()
    record.algorithm.validate(record.space, record.population)
    opened = _open(store, create=True)
    record = _create(opened, record, given_algorithm, resume=goes_on)
    study = Study(opened, opened.find_study(name).id)
    # Functions of a script cannot be read back from the store: this process decides with its own.
    opened.use_algorithm(study.id, record.algorithm)
    _extend_existing(study, record)
    return study


def load_study(name: str | None = None, *, store: str | Store = DEFAULT_STORE) -> Study:
    """Return a study by name; the newest of the store when no name is given.

    Raises:
        UnknownStudy: there is none; names the ones there are.
    """
    opened = _open(store, create=False)
    if name is not None:
        return Study(opened, opened.find_study(name).id)
    studies = opened.studies()
    if not studies:
        raise UnknownStudy(f"store {opened.url} holds no study yet: create one first")
    return Study(opened, studies[-1].id)


def import_study(
    path: str | Path, *, store: str | Store = DEFAULT_STORE, name: str | None = None
) -> Study:
    """Write a study out of an archive, made by `Study.export`, into a store; return it.

    The archive is checked in full before anything is written. No code that it names is imported
    until somebody runs the study. Without the checkpoints that its members go on from (exported
    with `checkpoints="kept"`) it can be looked at, and refuses to be run.

    Args:
        path: the archive.
        store: URL or an open store; made if it is not there.
        name: of the study in this store; by default the one it had.

    Raises:
        ArchiveError: it is no archive, damaged, or of a newer evolvent; nothing has been written.
        StudyExists: the name is taken.
    """
    from evolvent.store.archive.restore import checked_archive  # noqa: PLC0415 - rarely needed

    checked = None if name is None else check_name("name", name)
    with checked_archive(path) as packed:
        opened = _open(store, create=True)
        return Study(opened, packed.restore(opened, name=checked))


def list_studies(store: str | Store = DEFAULT_STORE) -> list[StudyStatus]:
    """Return how every study of a store stands, the newest last."""
    return _open(store, create=False).studies()


def _open(store: str | Store, *, create: bool) -> Store:
    if isinstance(store, str):
        return open_store(store, create=create)
    if not hasattr(store, "create_study"):
        raise ConfigError(
            f"store: got {type(store).__name__} {cut(store)}, wanted a URL such as "
            f"{DEFAULT_STORE!r}, or an open store"
        )
    return store


def _create(store: Store, record: StudyRecord, given: Algorithm, *, resume: bool) -> StudyRecord:
    """Write a study and return its settings; with `resume`, one that is there must be the same.

    `given` is the algorithm as the user gave it.
    """
    try:
        store.create_study(record)
        return record
    except StudyExists:
        if not resume:
            where = "" if store.url == DEFAULT_STORE else f" --store {quote(store.url)}"
            raise StudyExists(
                f"name: study {record.name!r} is in {store.url} already: resume=True goes on with "
                f"it, `evolvent rm {quote(record.name)}{where}` removes it; or choose another name"
            ) from None
        existing = store.find_study(record.name)
    except Forbidden as e:  # a worker's token makes no study, and may go on with one
        if not resume:
            raise
        try:
            existing = store.find_study(record.name)
        except UnknownStudy:
            raise e from None
    wanted = _with_stored_defaults(record, given, existing.record)
    check_same(existing.record, wanted)
    return wanted


def _with_stored_defaults(
    record: StudyRecord, given: Algorithm, existing: StudyRecord
) -> StudyRecord:
    """Return the settings with the strategies that a study began with, if neither side set them.

    More rounds are asked for with `resume`, and those of the study may have been extended: by
    either, the rule of the default would come to others than the study has.
    """
    stored = existing.algorithm
    if not isinstance(given, PBT) or not isinstance(stored, PBT):
        return record
    algorithm = given
    if given.exploit is None and is_default_exploit(stored.exploit_strategy):
        algorithm = replace(algorithm, exploit=stored.exploit)
    if given.explore is None and is_default_explore(stored.explore_strategy, record.space):
        algorithm = replace(algorithm, explore=stored.explore)
    return replace(record, algorithm=algorithm)


def _check_algorithm(algorithm: Any) -> Algorithm:
    if isinstance(algorithm, type) or not hasattr(algorithm, "decide"):
        raise ConfigError(f"algorithm: got {cut(algorithm)}, wanted one such as ev.PBT()")
    checked: Algorithm = algorithm
    return checked


def _extend_existing(study: Study, wanted: StudyRecord) -> None:
    """Take over what may change in a study that was there already."""
    existing = study.record
    if wanted.rounds > existing.rounds:  # fewer: it has been extended since
        study.extend(wanted.rounds)
    if wanted.target is not None and wanted.target != existing.target:
        study.retarget(wanted.target)
