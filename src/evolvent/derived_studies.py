"""Studies made from another one: its control arm; found again when they are there already."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from shlex import quote
from typing import Any

from evolvent.core.algorithms import RandomSearch
from evolvent.core.records import JobId
from evolvent.core.study import StudyRecord
from evolvent.core.values import from_json, identity
from evolvent.errors import StudyExists, UnknownStudy
from evolvent.store.protocol import Store
from evolvent.store.records import StudyState, StudyStatus
from evolvent.validation import check_name, cut


def find_or_create(store: Store, *records: StudyRecord) -> list[int]:
    """Write studies, or find them when they are there with the same settings; return their numbers.

    More rounds than one has extend it.

    Raises:
        StudyExists: a name is taken by another study; then none has been written.
    """
    for record in records:
        with suppress(UnknownStudy):
            check_same(store.find_study(record.name).record, record)
    return [_find_or_create(store, record) for record in records]


def check_same(existing: StudyRecord, wanted: StudyRecord) -> None:
    """Check that a study is the one that is wanted; `rounds`, `target`, `trainable` may differ.

    Raises:
        StudyExists: names the setting that differs.
    """
    old, new = from_json(existing.to_json()), from_json(wanted.to_json())
    for field in old:
        same = identity(old[field]) == identity(new[field])  # tuples as lists; True is not 1
        if not same and field not in ("rounds", "target", "trainable"):
            where, has, got = _difference(field, old[field], new[field])
            raise StudyExists(
                f"study {existing.name!r} exists with another {where}: it has {cut(has)}, "
                f"got {cut(got)}; choose another name, remove it "
                f"(`evolvent rm {quote(existing.name)}`), or ev.load_study it as it is"
            )


def _difference(path: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """Return where two settings that differ do so first, and both values there."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        i = next(i for i in range(len(old)) if identity(old[i]) != identity(new[i]))
        return _difference(f"{path}[{i}]", old[i], new[i])
    if not isinstance(old, dict) or not isinstance(new, dict):
        return path, old, new
    if old.get("type") != new.get("type"):
        return path, old.get("type", old), new.get("type", new)
    for name in {**old, **new}:
        if identity(old.get(name)) != identity(new.get(name)):
            return _difference(f"{path}.{name}", old.get(name), new.get(name))
    return path, old, new


def control_record(store: Store, status: StudyStatus, *, name: str | None) -> StudyRecord:
    """Return the random search with the same first members, seed and compute as a study.

    Same compute: every member trains as many rounds. Of a study that was stopped before its end,
    the jobs it has trained are shared out, rounded up to whole rounds of all members.
    """
    record, rounds = status.record, status.record.rounds
    if status.state not in (StudyState.OPEN, StudyState.FINISHED):
        rounds = max(1, -(-status.n_finished // status.members))
    return replace(
        record,
        name=check_name("name", name if name is not None else f"{record.name}-control"),
        algorithm=RandomSearch(),
        population=status.members,
        # What every member began with, pushed ones too.
        initial=tuple(
            dict(store.job(status.id, JobId(member, 0)).hyperparameters)
            for member in range(status.members)
        ),
        rounds=rounds,
        target=None,  # it would end before its compute is used up
    )


def _find_or_create(store: Store, record: StudyRecord) -> int:
    try:
        return store.create_study(record)
    except StudyExists:
        existing = store.find_study(record.name)
        check_same(existing.record, record)  # another process may have been faster
    if record.rounds > existing.record.rounds:
        store.extend(existing.id, rounds=record.rounds)
    return existing.id
