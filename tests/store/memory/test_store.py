"""What only a store in memory has: names within the process, and a directory that goes with it."""

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evolvent.errors import StoreError, UnknownStudy
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.testing.populations import study_record


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
    with pytest.raises(StoreError, match="memory://shared has been closed"):
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
    shutil.rmtree(staged.parent.parent.parent)


LEAVING = """
import os
from evolvent.store.connect import open_store
from evolvent.testing.populations import study_record

stores = [open_store("memory://"), open_store("memory://named")]
for store in stores:
    staged = store.checkpoints(store.create_study(study_record())).stage("m0r0")
    print(staged)
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
