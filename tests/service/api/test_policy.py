"""The service imports no code of others: a study that decides by some is refused by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.errors import ConfigError
from evolvent.store.connect import open_store
from evolvent.store.http.store import HttpStore
from evolvent.store.records import Report
from tests.service.threaded import Service, service
from tests.settings import study_record

MODULE = "somebody_s_own_code"
CODE = "raise SystemExit('imported')\n"


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with service(store) as made:
        yield made
    store.close()
    assert MODULE not in sys.modules


@pytest.fixture
def client(running: Service) -> Iterator[HttpStore]:
    store = HttpStore(running.url, running.token())
    yield store
    store.close()


OWN = ev.CustomExplore(f"{MODULE}:explore")
ALGORITHMS = {
    "alone": ev.PBT(ev.Truncation(), OWN),
    "one of several": ev.PBT(ev.Truncation(), {"lr": OWN, "momentum": ev.Perturb()}),
}


@pytest.mark.parametrize("which", ALGORITHMS)
def test_study_that_decides_by_code_of_its_own_is_refused(which: str, client: HttpStore) -> None:
    record = study_record(algorithm=ALGORITHMS[which])
    with pytest.raises(ConfigError, match=rf"algorithm\.explore.*fn.*{MODULE}"):
        client.create_study(record)
    assert client.studies() == []


def test_study_that_is_there_already_can_be_looked_at_and_not_worked_on(
    running: Service, client: HttpStore
) -> None:
    study = running.store.create_study(study_record(algorithm=ALGORITHMS["alone"]))
    lease = running.store.claim(study, worker="w0", lease_s=60.0)
    assert lease is not None
    assert client.status(study).record.algorithm == ALGORITHMS["alone"]
    assert len(client.jobs(study)) == 3
    for change in (
        lambda: client.claim(study, worker="w1", lease_s=60.0),
        lambda: client.report(lease, Report(0.5, {}, "0" * 64)),
        lambda: client.push(study, {}),
        lambda: client.extend(study, rounds=9),
    ):
        with pytest.raises(ConfigError, match="fn"):
            change()


def test_study_that_is_put_in_is_refused_likewise(running: Service, client: HttpStore) -> None:
    study = running.store.create_study(study_record(algorithm=ALGORITHMS["alone"]))
    with running.store.dump(study, checkpoints="none") as (dump, _):
        running.store.delete_study(study)
        with pytest.raises(ConfigError, match="fn"):
            client.restore(dump, save=lambda _: None)


def test_path_of_training_code_is_kept_and_not_imported(
    running: Service, client: HttpStore
) -> None:
    study = client.create_study(study_record(trainable=f"{MODULE}:train"))
    client.remember(study, trainable=f"{MODULE}:other")
    assert running.store.status(study).record.trainable == f"{MODULE}:other"


def test_built_in_strategies_are_decided_here(client: HttpStore) -> None:
    record = study_record(algorithm=ev.PBT())
    study = client.create_study(record)
    client.use_algorithm(study, record.algorithm)
    with pytest.raises(ConfigError, match="algorithm"):
        client.use_algorithm(study, ev.RandomSearch())
