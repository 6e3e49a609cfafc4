"""What a script does at its top level, and what of it a worker can do too."""

from __future__ import annotations

import builtins
import sys
import types
from pathlib import Path

import pytest

from evolvent.engines.place.script import Script, is_installed, running_cells, running_script
from evolvent.engines.place.settings import CARRIED

GUARDED = """
import torch
SETTINGS = {"lr": 1}
args = None
if True:
    BOTH = 1

class Net:
    pass

def main():
    global args
    args = 3

if __name__ == "__main__":
    SETTINGS = {}
    RESULT = Net()
    main()
else:
    IMPORTED = True
"""


def script(text: str) -> Script:
    return Script("train.py", text)


def run(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    for name in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    script(text).run()
    return vars(sys.modules["__main__"])


def test_names_bound_at_the_top_only_are_known_to_a_worker() -> None:
    found = script(GUARDED)
    assert found.guarded
    assert found.names == {"torch", "BOTH", "Net", "main", "IMPORTED"}
    assert found.rebound == {"SETTINGS", "args"}


def test_what_stands_under_the_guard_does_not_run_and_classes_are_of_main(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = run(
        "class Net: pass\nif __name__ == '__main__': raise SystemExit\n"
        "if '__main__' != __name__: there = __file__\ntry:\n    if __name__ == '__main__': 1 / 0\n"
        "finally:\n    done = True\n",
        monkeypatch,
    )
    net = names["Net"]
    assert isinstance(net, type)
    assert (net.__module__, names["__name__"]) == ("__main__", "__main__")
    assert names["there"] == "train.py"
    assert names["done"] is True
    assert names["__builtins__"] is builtins


def test_a_guard_within_a_function_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("def main():\n    return __name__ == '__main__'\n", monkeypatch)
    main = names["main"]
    assert isinstance(main, types.FunctionType)
    assert main() is True
    assert not script("def main():\n    return __name__ == '__main__'\n").guarded


def test_a_run_beside_the_guard_would_be_reached_again() -> None:
    text = "x = 1\nstudy.run()\nif __name__ == '__main__':\n    pass\n"
    assert not script(text).reruns(2)
    assert script(text).reruns(4)
    assert script(text).reruns(None), "called from a thread, whose line is not known"
    assert not script("study.run()").reruns(None)


@pytest.mark.parametrize(
    "line",
    [
        "torch.set_default_dtype(torch.float64)",
        "torch.backends.cudnn.benchmark = True",
        "np.random.seed(3)",
        "setup()",
        "with torch.device('cuda'):\n    torch.manual_seed(1)",
        "@torch.ops.register('x')\ndef op(): ...",
        "setattr(torch, 'x', 1)",
    ],
)
def test_what_workers_would_lack_is_named_with_its_line(line: str) -> None:
    text = f"import torch, numpy as np\ndef setup(): ...\n{line}\nstudy.run(train)\nnp.abs(3)\n"
    (unseen,) = script(text).unseen(text.splitlines().index("study.run(train)") + 1)
    assert "(line " in unseen


@pytest.mark.parametrize(
    "line",
    [
        "K = 3",
        "NAMES = [n.upper() for n in ('a', 'b')]",
        "parser = argparse.ArgumentParser(); parser.add_argument('--lr')",
        "print('hello')",
        "study = ev.create_study('s')",
        "os.environ['X'] = '1'",
        "sys.path.insert(0, 'lib')",
        "logging.basicConfig(level=10)",
        "'''a comment'''",
        "if K: K = 4",
        "SETTINGS['a'] = 1",
        "@dataclasses.dataclass\nclass A: ...",
    ],
)
def test_what_is_carried_or_changes_nothing_is_not_named(line: str) -> None:
    top = (
        "import argparse, dataclasses, logging, os, sys\nimport evolvent as ev\nSETTINGS, K = {}, 1"
    )
    assert script(f"{top}\n{line}\nstudy.run(train)\n").unseen(99) == []


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("torch.set_default_dtype(torch.float64)", True),
        ("set_default_dtype(torch.float64)", True),
        ("torch.backends.cudnn.benchmark = True", True),
        ("np.seterr(all='ignore')", True),
        ("decimal.getcontext().prec = 3", True),
        ("torch.set_default_tensor(3)", False),
        ("np.errstate.K = decimal.K = 3", False),
    ],
)
def test_settings_that_are_carried_are_told_from_what_is_not(line: str, seen: bool) -> None:
    top = "import torch, decimal, numpy as np\nfrom torch import set_default_dtype"
    found = script(f"{top}\n{line}\nstudy.run(train)\n").unseen(99, carried=CARRIED)
    assert (found == []) is seen


def test_a_program_that_is_installed_is_no_script(tmp_path: Path) -> None:
    assert is_installed(pytest.__file__)
    assert is_installed(types.__file__)
    assert not is_installed(str(tmp_path / "train.py"))
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "site-packages" / "linked").symlink_to(tmp_path / "mine")
    assert is_installed(str(tmp_path / "site-packages" / "library.py"))
    assert not is_installed(str(tmp_path / "site-packages" / "linked" / "model.py"))
    assert running_script() is None, "this is pytest"


def test_cells_of_a_notebook_that_were_run_before_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert running_cells() is None
    cells = [
        "",
        "import torch",
        "%matplotlib inline",
        "torch.manual_seed(1)",
        "torch.manual_seed(2)",
    ]
    vars(main).update(In=cells, get_ipython=object())
    cells_run = running_cells()
    assert cells_run is not None
    assert cells_run.unseen(sys.maxsize) == ["torch.manual_seed(1) (line 3)"]
