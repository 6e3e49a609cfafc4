"""Small and read-only disks for tests, where the machine permits to mount them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a mounted file system of two megabytes; `remount` changes it."""
    point = tmp_path / "disk"
    point.mkdir()
    _mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(point))
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def remount(point: Path, *, writable: bool) -> None:
    """Make a mounted disk writable or read-only."""
    _mount("-o", f"remount,{'rw' if writable else 'ro'}", str(point))


def fill(point: Path) -> Path:
    """Use up every byte that is left; return the file to delete."""
    ballast = point / "ballast"
    block = 1 << 16
    with ballast.open("wb", buffering=0) as file:
        while block:
            try:
                file.write(bytes(block))
            except OSError:
                block //= 2
    return ballast


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must be able to mount a small disk: {done.stderr}")
    pytest.skip(f"may not mount a small disk here: {done.stderr.strip()}")
