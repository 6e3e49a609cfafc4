"""One file of an upload, while its sender begins anew."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from evolvent.errors import UploadConflict
from evolvent.service.settings import ServiceSettings
from evolvent.service.uploads import Upload, UploadWriter
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.local import LocalCheckpoints

CONTENT = b"weights"
ENTRY = FileEntry("weights", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
OVERTAKEN_S = 0.2


class Overtaken(UploadWriter):
    """A file that its sender gives up just when it is looked at for the last time."""

    by: threading.Thread | None = None
    at_the_end = False

    @property
    def left(self) -> int:
        if self.at_the_end and self.by is None:
            self.by = threading.Thread(target=self.end)
            self.by.start()
            self.by.join(OVERTAKEN_S)
        return super().left


def test_file_that_is_given_up_at_its_end_is_still_whole(tmp_path: Path) -> None:
    file = Overtaken(tmp_path, tmp_path / "weights", ENTRY, 0)
    file.write(CONTENT)
    file.at_the_end = True
    assert file.finish() == len(CONTENT)
    assert file.by is not None
    file.by.join()
    file.close()
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_who_opens_a_file_while_its_upload_is_given_up_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = LocalCheckpoints(tmp_path, sync=False)
    rmdir = os.rmdir
    for n in range(8):  # in which order a folder is listed differs from one to the next
        upload = Upload.begin(home, ServiceSettings(), f"key {n}", [ENTRY])
        assert upload is not None
        opened: list[Any] = []

        def late(path: Any, upload: Upload = upload, opened: list[Any] = opened) -> None:
            if not opened:
                opened.append(path)
                with pytest.raises(UploadConflict, match="given up"):
                    upload.receive(0, 0)
            rmdir(path)

        monkeypatch.setattr(os, "rmdir", late)
        upload.drop()
        monkeypatch.setattr(os, "rmdir", rmdir)
        assert opened
    assert list(tmp_path.glob("staging/*")) == []
