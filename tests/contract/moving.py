"""Studies that are moved from one store into another, and how to tell that they are the same."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import BinaryTournament
from evolvent.core.explore import Perturb
from evolvent.core.records import JobId, JobState
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.dump import Chosen
from evolvent.store.protocol import Store
from evolvent.store.records import Point, Report
from tests.contract.crew import LONG, RAISED, RETURNED, Crew

TOURNAMENT = PBT(exploit=BinaryTournament(), explore=Perturb())
FINISHED = (JobState.DONE, JobState.FAILED)


def moved(crew: Crew, to: Store, *, name: str = "digits", which: Chosen = "kept") -> Crew:
    """Dump a study and restore it in `to`; return the crew that goes on with it there."""
    with crew.store.dump(crew.id, checkpoints=which) as (dump, held):
        record = replace(dump.record, name=name)
        number = to.restore(replace(dump, record=record), save=sealed(held.directories))
    twin = copy(crew)
    twin.store, twin.record, twin.id, twin.saved = to, record, number, set(crew.saved)
    return twin


def sealed(directories: Mapping[str, Path]) -> Callable[[CheckpointStore], None]:
    """Return what seals a copy of these checkpoints."""

    def save(checkpoints: CheckpointStore) -> None:
        for address, source in directories.items():
            staged = checkpoints.stage("copy")
            shutil.copytree(source, staged, dirs_exist_ok=True)
            assert checkpoints.seal(staged) == address

    return save


def eventful(store: Store) -> Crew:
    """Return a study in which every kind of thing has happened."""
    crew = Crew(store, population=4, rounds=5, algorithm=TOURNAMENT, max_failures=1)
    lease = crew.claim_of(0)
    store.heartbeat(lease, lease_s=LONG, points=[Point(1, {"loss": math.nan})])
    metrics = {"accuracy": 0.1 + 0.2, "nan": math.nan, "inf": math.inf, "zero": -0.0}
    report = Report(0.1 + 0.2, metrics, crew.save(), (Point(2, {"loss": -math.inf}),))
    store.report(lease, report)
    crew.saved.add(report.checkpoint)
    store.pin(crew.id, JobId(0, 0))
    crew.fail(crew.claim_of(1))
    crew.fail(crew.claim_of(2), RAISED)
    crew.fail(crew.claim_of(2), RAISED)
    store.push(crew.id, {"lr": 0.25}, by="ada@lab")
    for reason in ("lunch", "für die Nacht"):
        store.stop(crew.id, reason=reason)
    store.resume(crew.id)
    for rounds in (9, 5):
        store.extend(crew.id, rounds=rounds)
    for target in (0.1 + 0.2 + 1e300, None):
        store.retarget(crew.id, target=target)
    crew.train(-1e300, member=3)
    for _ in range(4):
        crew.train(0.5)
    crew.fail(crew.claim("w1"), RETURNED)
    requeued = crew.claim("w2")
    store.heartbeat(requeued, lease_s=LONG, points=[Point(3, {"loss": 1.0})])
    crew.fail(requeued, RAISED)
    return crew


def chequered(store: Store) -> Crew:
    """Return a study that keeps the best (m0r1), a pinned one (m1r0) and two to go on from."""
    crew = Crew(store, population=2, rounds=4)
    for score, member in ((0.1, 0), (0.1, 1)):
        crew.train(score, member=member)
    store.pin(crew.id, JobId(1, 0))
    for score, member in ((0.9, 0), (0.2, 1), (0.3, 0), (0.3, 1)):
        crew.train(score, member=member)
    return crew


def assert_same(twin: Crew, crew: Crew) -> None:
    """Check that two studies are told apart by nothing but name and number."""
    assert_same_log(twin, crew)
    assert twin.store.pins(twin.id) == crew.store.pins(crew.id)
    assert twin.store.interventions(twin.id) == crew.store.interventions(crew.id)
    here, there = twin.status(), crew.status()
    assert replace(here.record, name="") == replace(there.record, name="")
    assert replace(here, id=0, record=crew.record) == replace(there, id=0, record=crew.record)
    assert twin.on_disk() == crew.on_disk()


def assert_same_log(twin: Crew, crew: Crew) -> None:
    """Check that every job, failure and point is the same."""
    here, there = (repr(c.store.jobs(c.id, states=FINISHED)) for c in (twin, crew))
    assert here == there  # as text: NaN is not equal to itself
    assert repr(twin.store.jobs(twin.id)) == repr(crew.store.jobs(crew.id))
    assert twin.store.failures(twin.id) == crew.store.failures(crew.id)
    for job in crew.store.jobs(crew.id):
        points = [repr(c.store.points(c.id, job.id)) for c in (twin, crew)]
        assert points[0] == points[1]


def contents(store: Store, study: int) -> tuple[list[str], list[str]]:
    """Return the names of the studies and of whatever lies where checkpoints of all studies do."""
    place = store.checkpoints(study).root.parent
    names = [status.record.name for status in store.studies()]
    return names, sorted(str(path.relative_to(place)) for path in place.rglob("*"))
