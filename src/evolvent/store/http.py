"""The store behind a service: every promise of the protocol is a request.

Decisions are taken there. What changes something carries a key or an attempt, so that it may be
sent again when an answer was lost.
"""

from __future__ import annotations

from contextlib import suppress

from evolvent.core.algorithms import Algorithm, algorithm_to_json
from evolvent.core.study import StudyRecord
from evolvent.errors import ConfigError, UnknownStudy
from evolvent.store import wire
from evolvent.store.checkpoints_like import CheckpointsLike
from evolvent.store.credentials import read_token
from evolvent.store.fields import listed
from evolvent.store.http_checkpoints import HttpCheckpoints
from evolvent.store.http_read import HttpRead
from evolvent.store.http_requests import new_key, quoted
from evolvent.store.http_transport import Transport
from evolvent.store.http_whole import HttpWhole
from evolvent.store.http_work import HttpWork
from evolvent.store.records import StudyStatus


class HttpStore(HttpWork, HttpRead, HttpWhole):
    """A store that another process serves by `evolvent serve`.

    Args:
        url: of the service.
        token: opens it; by default that of this machine (see `credentials`).
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        super().__init__(Transport(url, read_token() if token is None else token))
        self._checkpoints: dict[int, HttpCheckpoints] = {}

    def close(self) -> None:
        self._transport.close()

    def create_study(self, record: StudyRecord, *, key: str | None = None) -> int:
        body = {"record": record.to_json(), "key": key or new_key()}
        return int(self._post("/studies", body)["id"])

    def find_study(self, name: str) -> StudyStatus:
        return self._read(wire.status_from_json, self._get(f"/studies/named/{quoted(name)}"))

    def studies(self) -> list[StudyStatus]:
        found = self._read(lambda data: listed(data, "studies"), self._get("/studies"))
        return [self._read(wire.status_from_json, status) for status in found]

    def delete_study(self, study: int) -> None:
        self.status(study)  # refuses one that is not there
        with suppress(UnknownStudy):  # gone since: perhaps by this request, and its answer was lost
            self._transport.request("DELETE", f"/studies/{study}")
        self._checkpoints.pop(study, None)

    def checkpoints(self, study: int) -> CheckpointsLike:
        if study not in self._checkpoints:
            self.status(study)  # refuses one that is not there
            self._checkpoints[study] = HttpCheckpoints(self._transport, study)
        return self._checkpoints[study]

    def use_algorithm(self, study: int, algorithm: Algorithm) -> None:
        """Refuse any algorithm but that of the study: decisions are taken by the service.

        Raises:
            ConfigError: it is another one.
        """
        if _stored(algorithm) != _stored(self.status(study).record.algorithm):
            raise ConfigError(
                f"algorithm: got {algorithm!r:.120}, which {self.url} cannot decide with: it takes "
                "the decisions itself, and imports no code of others: wanted a built-in one"
            )


def _stored(algorithm: Algorithm) -> object:
    try:
        return algorithm_to_json(algorithm)
    except ConfigError:
        return algorithm
