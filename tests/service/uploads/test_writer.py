"""One file of an upload, while its sender begins anew."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from evolvent.service.uploads import UploadWriter
from evolvent.store.checkpoints.files import FileEntry

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
