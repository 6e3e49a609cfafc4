"""What a script defines can be unpacked where the script has not been run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import functools, sys
from evolvent.engines.local.pickling import pack_code

@functools.cache
def squares(n):
    return [i * i for i in range(n)]

@functools.lru_cache(maxsize=3)
def factorial(n):
    return n * factorial(n - 1) if n else 1

def train(n):
    return squares(n), factorial(n), factorial.cache_parameters()["maxsize"]

sys.stdout.buffer.write(pack_code(train, None))
"""
UNPACK = """
import sys
from evolvent.engines.local.pickling import unpack_code
train, _ = unpack_code(sys.stdin.buffer.read())
print(train(4))
"""


def test_cached_functions_of_a_script_are_sent_with_it(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    packed = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, check=True
    ).stdout
    done = subprocess.run(
        [sys.executable, "-c", UNPACK], input=packed, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "([0, 1, 4, 9], 24, 3)"
