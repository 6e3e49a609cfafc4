"""What it takes to save and load a checkpoint, beside writing and reading its files.

Sealing comes after training code has written the files, loading before it reads them: both are
given in the time that reading takes, from memory where the machine still has the files there, and
from the disk otherwise. `--drop-caches` makes it the disk, and needs to be root.

    python benchmarks/checkpoints.py                # small ones
    python benchmarks/checkpoints.py --gb 2         # and one of 2 GB in 4 files
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from evolvent.store.checkpoints.hashes import HASHES
from evolvent.store.checkpoints.local import LocalCheckpoints

MB = 1 << 20
SIZES = [(4096, 1, 200), (MB, 1, 100), (100 * MB, 1, 3), (100 * MB, 20, 3)]
STEPS = ["write", "read", "seal", "load, sealed here", "load, first", "load, again"]


def main() -> None:
    options = _options()
    sizes = [*SIZES, (int(options.gb * 1e9), 4, options.repeat)] if options.gb else SIZES
    for durability in ("process", "power"):
        print(f"\nmedian ms, and how many times as long as reading; durability: {durability}")
        print(f"{'':22}" + "".join(f"{step:>20}" for step in STEPS))
        for n_bytes, n_files, repeat in sizes:
            with tempfile.TemporaryDirectory(dir=options.dir, prefix=".bench-") as directory:
                checkpoints = LocalCheckpoints(Path(directory), sync=durability == "power")
                drop = drop_caches if options.drop_caches else _nothing
                took = measure(checkpoints, n_bytes, n_files, repeat=repeat, forget=drop)
            print(row(f"{n_files} x {n_bytes // n_files / MB:.3g} MiB", took), flush=True)


def measure(
    checkpoints: LocalCheckpoints,
    n_bytes: int,
    n_files: int,
    *,
    repeat: int,
    forget: Callable[[], None],
) -> dict[str, float]:
    """Return the median seconds of every step."""
    took: dict[str, list[float]] = defaultdict(list)

    def timed(step: str, do: Callable[[], object]) -> None:
        began = time.perf_counter()
        do()
        took[step].append(time.perf_counter() - began)

    content = memoryview(os.urandom(n_bytes // n_files))
    for number in range(repeat):
        staged = checkpoints.stage(f"m0r{number}")
        content = memoryview(number.to_bytes(8, "big") + bytes(content[8:]))
        timed("write", lambda: write(staged, content, n_files))  # noqa: B023 - called at once
        timed("seal", lambda: checkpoints.seal(staged))  # noqa: B023
        (address,) = checkpoints.addresses()
        timed("load, sealed here", lambda: checkpoints.verify(address))  # noqa: B023
        forget()
        timed("read", lambda: read(checkpoints.path(address)))  # noqa: B023
        forget()
        HASHES.clear()  # as in another process
        timed("load, first", lambda: checkpoints.verify(address))  # noqa: B023
        timed("load, again", lambda: checkpoints.verify(address))  # noqa: B023
        checkpoints.discard([address])
        checkpoints.empty_trash()
    return {step: statistics.median(times) for step, times in took.items()}


def write(directory: Path, content: memoryview, n_files: int) -> None:
    for number in range(n_files):
        with (directory / f"part{number}").open("wb") as file:
            file.write(number.to_bytes(2, "big"))
            file.write(content[2:])


def read(directory: Path) -> None:
    """Read as training code does: into memory that it then has."""
    for path in directory.iterdir():
        path.read_bytes()


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")


def _nothing() -> None:
    """Leave the files where they are."""


def row(name: str, took: dict[str, float]) -> str:
    cells = (f"{took[step] * 1000:11.2f} {took[step] / took['read']:6.2f} x" for step in STEPS)
    return f"{name:22}" + "".join(f"{cell:>20}" for cell in cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gb", type=float, default=0.0, help="of a large one, 10^9 bytes")
    parser.add_argument("--repeat", type=int, default=2, help="times the large one is measured")
    parser.add_argument("--drop-caches", action="store_true", help="read from the disk")
    parser.add_argument("--dir", help="where to write: a directory on the disk to be measured")
    options = parser.parse_args()
    free = shutil.disk_usage(options.dir or tempfile.gettempdir()).free
    if options.gb * 2e9 > free:
        parser.error(f"--gb {options.gb:g}: {free / 1e9:.1f} GB are free there")
    return options


if __name__ == "__main__":
    main()
