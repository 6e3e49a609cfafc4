"""The tests every store passes: what `evolvent.store.protocol` promises, sentence by sentence.

A store's own test file is a subclass with one fixture, and no exceptions::

    import pytest
    from tests.contract import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            store = MyStore(tmp_path / "log")
            yield store
            store.close()

`store` gives a fresh, empty store. `reopen` gives a function that opens the same one once more, as
another process would; unless overridden it calls `open_store(store.url)`. `home` is the store in
whose process decisions are taken and on whose disk the checkpoints lie: `store` itself, unless
overridden because it only passes all on (whoever brings checkpoints here must not keep a copy then,
for some tests spoil what lies there). For messages that show values, call
`pytest.register_assert_rewrite("tests.contract")` in a conftest before this is
imported. Needs pytest and hypothesis.
"""

from __future__ import annotations

import pytest

from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from tests.contract.again import AgainContract
from tests.contract.archive import ArchiveContract
from tests.contract.best import BestContract
from tests.contract.claims import ClaimsContract
from tests.contract.collection import CollectionContract
from tests.contract.control import ControlContract
from tests.contract.crew import Reopen
from tests.contract.failures import FailuresContract
from tests.contract.histories import HistoriesContract
from tests.contract.interventions import InterventionsContract
from tests.contract.reading import ReadingContract
from tests.contract.reports import ReportsContract
from tests.contract.rounds import RoundsContract
from tests.contract.studies import StudiesContract


class StoreContract(
    StudiesContract,
    ClaimsContract,
    ReportsContract,
    FailuresContract,
    RoundsContract,
    ControlContract,
    InterventionsContract,
    BestContract,
    CollectionContract,
    ReadingContract,
    ArchiveContract,
    AgainContract,
    HistoriesContract,
):
    """Subclass this and provide the fixture `store`."""

    @pytest.fixture
    def home(self, store: Store) -> Store:
        return store

    @pytest.fixture
    def reopen(self, store: Store) -> Reopen:
        return lambda: open_store(store.url)
