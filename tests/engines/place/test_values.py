"""Real scripts: values of every kind, and what raises, on their way to workers."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.engines.place.test_carried import run_script
from tests.engines.place.test_modules import write_modules

STATES = """
    import attr, collections, dataclasses, enum
    import numpy as np
    import pydantic
    from typing import Any, NamedTuple

    class Mode(enum.Enum):
        A, B = 1, 2

    class Node:
        k, child = 1, None

        def rate(self):
            return self.k

    @dataclasses.dataclass(slots=True)
    class Slots:
        k: int = 1

    @dataclasses.dataclass(frozen=True)
    class Frozen:
        k: int = 1

    class Point(NamedTuple):
        k: int = 1

    class Attributes(dict):
        __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__

    class Locked(dict):
        def __setitem__(self, name, value):
            raise TypeError("it is locked")
        update = clear = __setitem__

    @attr.define
    class Attrs:
        k: int = 1

    class Model(pydantic.BaseModel):
        k: int = 1
        inner: Any = None

    class Base:
        options = {}

    class Child(Base):
        class Inner:
            k = 1

    node, slots, mode, point, attrs = Node(), Slots(), Mode.A, Point(), Attrs()
    first = frozen = Frozen()
    default = chosen = {"k": 1}
    ring, hooks, words, locked, model = {}, [], {}, Locked(k=1), Model(inner=Model())
    free, table = Attributes(k=1), np.zeros(20_000)

    def change(new):
        global mode, point, frozen, chosen, locked
        node.k, slots.k, attrs.k, model.k, model.inner.k, free.k = new, new, new, new, new, new
        mode, point, frozen = Mode.B, Point(new), Frozen(new)
        chosen, locked = {"k": new}, Locked(k=new)
        node.child = Node()
        node.child.parent, ring["ring"] = node, ring
        hooks.append(node.rate)
        words.update((f"word {i}", i) for i in range(20_000))
        table[17] = new
        Child.options, Child.Inner.k = {"k": new}, new

    def seen():
        assert node.child.parent is node and ring["ring"] is ring
        assert mode is Mode.B and Mode.A.name == "A"
        objects = (node, slots, point, attrs, model, model.inner, free, first, frozen)
        return [x.k for x in objects] + [
            default, chosen, hooks[0](), len(words), locked["k"], table[17], Base.options,
            Child.options, Child.Inner.k]
"""


def test_values_of_every_kind_are_as_main_has_left_them(tmp_path: Path) -> None:
    for name in ("attr", "pydantic"):
        pytest.importorskip(name)
    write_modules(tmp_path, states=STATES)
    # Once in a module, and once in the script itself.
    script = """
        import states

        def train(job):
            return {"Q": job.hyperparameters["lr"], "seen": str([seen(), states.seen()])}

        if __name__ == "__main__":
            change(5)
            states.change(5)
            run(train, rounds=1)
            print(ev.load_study("w2", store="sqlite:///s.db").jobs()[0].metrics["seen"])
        """
    said = run_script(tmp_path, textwrap.dedent(STATES) + textwrap.dedent(script))
    one = (
        "[5, 5, 5, 5, 5, 5, 5, 1, 5, {'k': 1}, {'k': 5}, 5, 20000, 5, np.float64(5.0), {}, "
        "{'k': 5}, 5]"
    )
    assert f"[{one}, {one}]" in said
    assert "6 jobs are the same" in said
    assert "workers have not" not in said


@pytest.mark.slow
def test_tensors_of_a_module_are_as_main_has_left_them(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_modules(tmp_path, stats="import torch\nmean, weights = torch.zeros(2), None\n")
    said = run_script(
        tmp_path,
        """
        import stats, torch

        def train(job):
            return {"Q": stats.mean.sum().item() + stats.weights.sum().item()}

        if __name__ == "__main__":
            stats.mean += 1
            stats.weights = torch.ones(2)
            run(train, rounds=1)
        """,
    )
    assert "6 jobs are the same" in said


def test_what_is_large_stays_as_workers_have_it_and_is_named_if_it_differs(tmp_path: Path) -> None:
    write_modules(tmp_path, data="same, other = bytes(20_000_000), bytes(20_000_000)\n")
    said = run_script(
        tmp_path,
        """
        import data
        import numpy as np

        WORDS, TABLE, SAME = {}, np.zeros(20_000_000, np.uint8), np.zeros(20_000_000, np.uint8)

        def train(job):
            return {"Q": job.hyperparameters["lr"]}

        if __name__ == "__main__":
            data.other = data.other[:-1] + b"1"
            WORDS.update((i, "word" * 10) for i in range(400_000))
            TABLE[17] = 1
            run(train, rounds=1)
        """,
    )
    assert "the script has set in module data: other (bytes): " in said
    (line,) = [line for line in said.splitlines() if "in its globals" in line]
    assert "WORDS (dict)" in line
    assert "TABLE (ndarray)" in line
    assert "SAME" not in line


def test_objects_that_raise_whatever_they_are_asked_end_nothing(tmp_path: Path) -> None:
    write_modules(
        tmp_path,
        angry="def __getattr__(name):\n    raise RuntimeError(name)\n",
        config="x, proxy, made = 1, None, None\n",
        gone="x, made = 1, None\nclass Made: ...\n",
        later="x = 1\n",
    )
    said = run_script(
        tmp_path,
        """
        import sys, types
        import angry, config, later

        class Proxy:
            @property
            def __class__(self):
                raise RuntimeError("outside of a context")
            def __getattr__(self, name):
                raise RuntimeError(name)

        class Module(types.ModuleType):
            def __getattr__(self, name):
                raise RuntimeError(name)

        PROXY, sys.modules["lazy"] = Proxy(), Module("lazy")
        del vars(sys.modules["lazy"])["__name__"]

        def train(job):
            return {"Q": job.hyperparameters["lr"], "x": config.x, "used": [angry, PROXY][0].x}

        if __name__ == "__main__":
            import gone
            config.x, config.proxy, angry.x = 2, PROXY, 3
            later.made = gone.Made()
            os.remove("gone.py")
            sys.modules.pop("gone")
            run(train, rounds=1)
        """,
    )
    assert "6 jobs are the same" in said
    assert said.count("go without what the script has set") <= 1


def test_a_property_that_uses_a_global_of_the_guard_has_it(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        class Net:
            @property
            def width(self):
                return WIDTH

        def train(job):
            return {"Q": Net().width}

        if __name__ == "__main__":
            WIDTH = 3
            run(train, rounds=1)
        """,
    )
    assert "6 jobs are the same" in said
    assert "failed" not in said
