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

class Table:
    @functools.cached_property
    def rows(self):
        return 7

@functools.singledispatch
def kind(x):
    return "any"

@kind.register
def _(x: int):
    return "int"

def train(n):
    return squares(n), factorial(n), factorial.cache_parameters()["maxsize"], Table().rows, kind(n)

sys.stdout.buffer.write(pack_code(train, None))
"""
UNPACK = """
import sys
from evolvent.engines.local.pickling import unpack_code
train, _ = unpack_code(sys.stdin.buffer.read())
print(train(4))
"""


# The top level has run in the worker, too, and the guard has changed values since.
GUARDED = """
import argparse, sys
KEPT, ORDER, ARGS, LOOP = {"x": 1}, {"x": 1, "y": 2}, argparse.Namespace(n=1), {"a": 1}
LOOP["self"] = LOOP
class Held:
    kept, order, args = KEPT, ORDER, ARGS

def train():
    held = Held.kept is KEPT and Held.order is ORDER and Held.args is ARGS
    return type(KEPT["x"]).__name__, list(ORDER), ARGS.n, held, LOOP["a"]

if PACKS:
    from evolvent.engines.local.pickling import pack_code
    KEPT["x"], ORDER["x"], ARGS.n = 1.0, ORDER.pop("x"), 5
    known = {"KEPT", "ORDER", "ARGS", "LOOP", "Held", "train"}
    sys.stdout.buffer.write(pack_code(train, None, known=known))
else:
    from evolvent.engines.local.pickling import unpack_code
    print(unpack_code(sys.stdin.buffer.read())[0]())
"""


def test_values_are_as_the_guard_has_left_them_in_type_and_order_and_wherever_they_are_held():
    out = b""
    for packs in ("True", "False"):
        command = [sys.executable, "-c", GUARDED.replace("PACKS", packs)]
        out = subprocess.run(command, input=out, capture_output=True, check=True).stdout
    assert out.decode().strip() == "('float', ['y', 'x'], 5, True, 1)"


def test_cached_functions_of_a_script_are_sent_with_it(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    packed = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, check=True
    ).stdout
    done = subprocess.run(
        [sys.executable, "-c", UNPACK], input=packed, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "([0, 1, 4, 9], 24, 3, 7, 'int')"
