"""What users wrote against and stored with older code still holds: see frozen/README.md."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.store.tokens import tokens_of
from tests.frozen.evidence import FROZEN, frozen, log_hash, openapi, packaged, public
from tests.frozen.training import ROUNDS, new_study, train
from tests.needs import missing
from tests.service.threaded import Service, service
from tests.store.servers import at_hand, schema

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("keras", "mlflow", "optax", "tensorboard", "torch", "wandb")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    with (
        closing(ev.open_store(f"sqlite:///{tmp_path / 'behind.db'}")) as behind,
        service(behind) as running,
    ):
        yield running


@pytest.fixture(params=["sqlite", "postgres", "http"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Give the URL of a store that holds nothing yet."""
    match request.param:
        case "sqlite":
            yield f"sqlite:///{tmp_path / 'log.db'}"
        case "postgres":
            with schema(request.getfixturevalue("postgres")) as made:
                yield f"{made}&checkpoints={tmp_path}/checkpoints"
        case "http":
            running = request.getfixturevalue("served")
            monkeypatch.setenv("EVOLVENT_TOKEN", running.token())
            monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "cache"))
            yield running.url


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with at_hand() as url:
        yield url


@pytest.fixture(scope="module")
def modules() -> Any:
    """The public modules, as a process of its own sees them."""
    command = [sys.executable, "-m", "tests.frozen.evidence"]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[ev.Study]:
    """The study in a copy of the file that older code wrote; its checkpoints are not there."""
    shutil.copy(FROZEN / "study.sqlite", tmp_path / "study.db")
    with closing(ev.open_store(f"sqlite:///{tmp_path / 'study.db'}")) as store:
        yield ev.load_study(store=store)


@pytest.fixture
def imported(tmp_path: Path) -> Iterator[ev.Study]:
    """The study out of the archive that older code wrote, in a store of today."""
    with closing(ev.open_store(f"sqlite:///{tmp_path / 'new.db'}")) as store:
        yield ev.import_study(FROZEN / "study.zip", store=store)


def test_the_service_serves_what_it_did(served: Service) -> None:
    assert openapi(served.url, served.token()) == frozen("openapi.json")


@pytest.mark.parametrize("part", ["all", "dir", "signatures"])
def test_every_public_name_is_there_and_called_as_it_was(part: str) -> None:
    assert public()[part] == frozen("public.json")[part]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_is_called_as_it_was(modules: Any, name: str) -> None:
    if name not in modules:
        missing(f"the library of ev.{name} is not installed")
    assert modules[name] == frozen("public.json")["modules"][name]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_the_study_has_the_same_log_on_every_store(url: str, workers: int) -> None:
    with closing(ev.open_store(url)) as store:
        study = new_study(store)
        study.run(train, workers=workers, progress=False)
        assert log_hash(study) == frozen("logs.json")["study"]


def test_no_file_beside_the_code_is_lost_from_the_package() -> None:
    was, now = (FROZEN / "wheel.txt").read_text().split(), packaged()
    assert beside_the_code(was) - beside_the_code(now) == Counter()


def test_a_file_of_older_code_holds_the_same_log(stored: ev.Study) -> None:
    assert log_hash(stored) == frozen("logs.json")["study"]
    best, failed = stored.result().best, stored.job("m2r1")
    assert (best.job.id, best.value) == ("m1r4", 0.9931336579022901)
    assert [job.id for job in best.lineage] == ["m0r0", "m1r1", "m0r2", "m0r3", "m1r4"]
    assert best.hyperparameters == {"rate": 0.2, "drag": 0.17576510006030557}
    assert (failed.state, failed.error) == ("failed", "metric 'height' was nan")
    assert (failed.worker, failed.attempt, failed.score) == ("frozen", 1, None)
    assert stored.job("m2r2").donor == 3


def test_a_file_of_older_code_holds_what_is_beside_the_log(stored: ev.Study) -> None:
    points = stored.points("m1r0")
    assert [point.step for point in points] == [0.0, 1.0, 2.0]
    assert points[2].values == {"place": 0.17523927544837395}
    assert [failure.job for failure in stored.failures()] == ["m2r1"]
    assert stored.status().state == "finished"
    assert stored.record.trainable == "tests.frozen.training:train"
    assert stored.store.pins(stored.id) == ["m1r0"]
    assert stored.interventions() == []
    tokens = tokens_of(stored.store).list()
    assert [(t.name, t.role, t.study) for t in tokens] == [("frozen worker", "worker", "frozen")]
    assert "ranks below all others" in stored.explain("m2r2").why[1]


def test_an_archive_of_older_code_is_the_same_study(imported: ev.Study, stored: ev.Study) -> None:
    assert repr(imported.jobs()) == repr(stored.jobs())
    assert imported.record == stored.record
    assert imported.points("m3r4") == stored.points("m3r4")
    assert imported.store.pins(imported.id) == ["m1r0"]
    pinned = imported.checkpoint("m1r0") / "place.json"
    assert pinned.read_text() == "0.17523927544837395"


def test_an_archive_of_older_code_comes_out_again(imported: ev.Study, tmp_path: Path) -> None:
    again = imported.export(tmp_path / "again.zip", checkpoints="kept")
    older = entries(FROZEN / "study.zip")
    assert entries(again).keys() == older.keys()
    for name, data in entries(again).items():
        assert as_older_code_wrote(name, data) == as_older_code_wrote(name, older[name])


def test_an_archive_of_older_code_goes_on(imported: ev.Study) -> None:
    imported.extend(ROUNDS + 1)
    imported.run(train, workers=0, progress=False)
    assert log_hash(imported) == frozen("logs.json")["extended"]


def entries(archive: Path) -> dict[str, bytes]:
    """Return what is in an archive, but not its table of contents: that names the version."""
    with zipfile.ZipFile(archive) as zipped:
        names = set(zipped.namelist()) - {"manifest.json"}
        return {name: zipped.read(name) for name in names}


def as_older_code_wrote(name: str, data: bytes) -> Any:
    """Return a part of an archive without what older code did not write."""
    if name == "study.json":
        study = json.loads(data)
        study["record"].pop("best", None)
        assert study.pop("interventions", []) == []
        return study
    if not name.endswith(".jsonl"):
        return data
    lines = [json.loads(line) for line in data.splitlines()]
    more = {"cause"} | ({"member", "round", "parent_checkpoint"} if name == "jobs.jsonl" else set())
    return [{key: value for key, value in line.items() if key not in more} for line in lines]


def beside_the_code(files: list[str]) -> Counter[str]:
    """Count the names of what is not Python, wherever it lies."""
    return Counter(Path(file).name for file in files if not file.endswith(".py"))
