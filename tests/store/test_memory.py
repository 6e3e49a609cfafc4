"""What only a store in memory has: names within the process, and a directory that goes with it."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from evolvent.errors import StoreError, StoreUnavailable, UnknownStudy
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.sqlite import connections, location
from tests.contract.crew import Crew
from tests.contract.moving import moved
from tests.settings import study_record


def directory(store: Store) -> Path:
    study = store.create_study(study_record())
    return store.checkpoints(study).stage("m0r0")


def test_stores_without_a_name_share_nothing():
    one, two = open_store("memory://"), open_store("memory://")
    one.create_study(study_record())
    assert two.studies() == []
    one.close()
    two.close()


def test_stores_of_one_name_share_their_studies_even_after_closing():
    one, two = open_store("memory://shared"), open_store("memory://shared")
    one.create_study(study_record(name="digits"))
    one.close()
    with pytest.raises(StoreError, match="memory://shared: the store has been closed"):
        one.studies()
    assert two.find_study("digits").members == 3
    two.close()
    assert open_store("memory://shared").find_study("digits").members == 3
    assert open_store("memory://other").studies() == []


def test_url_opens_the_same_store():
    store = open_store("memory://by url")
    store.create_study(study_record(name="digits"))
    assert open_store(store.url).find_study("digits").id == 1


def test_unknown_study_in_an_empty_store_says_that_it_is_empty():
    store = open_store("memory://")
    with pytest.raises(UnknownStudy, match=r"'digits' in memory://: it is empty"):
        store.find_study("digits")
    store.close()


def test_closing_removes_the_checkpoints():
    store = open_store("memory://")
    staged = directory(store)
    store.close()
    assert not staged.exists()
    store.close()


def test_store_that_nobody_holds_any_more_removes_its_checkpoints():
    store = open_store("memory://")
    staged = directory(store)
    del store
    gc.collect()
    assert not staged.exists()


def test_forked_child_leaves_what_its_parent_still_needs(monkeypatch: pytest.MonkeyPatch):
    store = open_store("memory://")
    staged = directory(store)
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        store.close()
    assert staged.exists()
    shutil.rmtree(staged.parents[3])


LEAVING = """
import os
from evolvent.store.connect import open_store
from tests.settings import study_record

stores = [open_store("memory://"), open_store("memory://named")]
for store in stores:
    staged = store.checkpoints(store.create_study(study_record())).stage("m0r0")
    print(staged, flush=True)  # or the child that is forked prints it, too
if os.fork() == 0:
    raise SystemExit  # a forked child must leave what its parent still needs
os.wait()
print(staged.exists())
"""


def test_process_that_ends_leaves_no_checkpoints_behind():
    command = [sys.executable, "-W", "ignore", "-c", LEAVING]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    *paths, alive = done.stdout.split()
    assert alive == "True"
    assert len(paths) == 2
    assert [Path(path).exists() for path in paths] == [False, False]


def test_a_forked_child_uses_the_same_studies_while_its_parent_lives():
    command = [sys.executable, "-W", "ignore", "-c", FORKING]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["child", "parent"]


FORKING = """
import os
from evolvent.store.connect import open_store
from tests.settings import study_record

store = open_store("memory://named")
store.create_study(study_record(name="parent"))
if os.fork() == 0:
    open_store("memory://named").create_study(study_record(name="child"))
    store.close()
    raise SystemExit
os.wait()
print(*sorted(status.record.name for status in store.studies()))
"""


def test_nothing_is_synced_for_it_dies_with_its_process(monkeypatch: pytest.MonkeyPatch):
    synced = []
    for module, name in ((os, "fsync"), (os, "fdatasync"), (connections, "_sync")):
        monkeypatch.setattr(module, name, synced.append)
    with closing(open_store("memory://")) as store:
        crew = Crew(store, durability="power")
        crew.train(0.5)
        twin = moved(crew, store, name="twin")
        twin.train(0.7)
        assert {store.checkpoints(study).sync for study in (crew.id, twin.id)} == {False}
        with store._session.database.write(synced=True) as tx:  # type: ignore[attr-defined]  # looks inside
            assert tx.execute("PRAGMA synchronous").fetchone() == (0,)
    assert synced == []


def test_it_needs_no_local_disk(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(location, "filesystem", lambda *_: "nfs")
    open_store("memory://").close()


def test_no_room_for_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreUnavailable, match=r"memory://: no temporary directory.*TMPDIR"):
        open_store("memory://")


def test_threads_that_open_a_name_at_once_get_one_place():
    name = f"memory://{uuid.uuid4()}"
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: open_store(name), range(8)))
    stores[0].create_study(study_record(name="digits"))
    assert [store.find_study("digits").id for store in stores] == [1] * 8
    for store in stores:
        store.close()
