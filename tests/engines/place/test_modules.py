"""Real scripts: the state of modules which `main()` has set is that of workers, or is named."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from evolvent.engines.place.on_import import keep_texts, when_imported
from evolvent.engines.place.settings import apply_settings, settings_of_process
from evolvent.engines.place.sources import texts_of_modules
from tests.engines.place.test_carried import run_script


def write_modules(tmp_path: Path, **modules: str) -> None:
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))


# The modules that training alone imports are imported in `train` and in `main` only.
SETTINGS = """
    import decimal, gc
    import numpy as np

    def train(job):
        import locale, multiprocessing, torch, pandas, sklearn
        x = torch.tensor(job.hyperparameters["lr"]) / 3
        seen = [
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
            torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32,
            torch.is_grad_enabled(), decimal.Decimal(1) / 3, np.geterr(), np.array([1 / 3]),
            multiprocessing.get_start_method(allow_none=True), sys.getrecursionlimit(),
            pandas.get_option("display.max_columns"), sklearn.get_config()["assume_finite"],
            locale.setlocale(locale.LC_ALL), Net in torch.serialization.get_safe_globals(),
            gc.isenabled(), gc.get_threshold(),
        ]
        return {"Q": x.item(), "bits": torch.finfo(x.dtype).bits, "seen": str(seen)}

    class Net: ...

    def main():
        import locale, multiprocessing, torch, pandas, sklearn
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        torch.set_grad_enabled(False)
        torch.serialization.add_safe_globals([Net])
        decimal.getcontext().prec = 5
        np.seterr(all="raise")
        np.set_printoptions(precision=3)
        multiprocessing.set_start_method("spawn")
        gc.disable()
        gc.set_threshold(5000, 5, 5)
        sys.setrecursionlimit(4321)
        pandas.set_option("display.max_columns", 77)
        sklearn.set_config(assume_finite=True)
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        run(train, workers=(0, 1, 2), rounds=1)
        print(ev.load_study("w2", store="sqlite:///s.db").jobs()[0].metrics["seen"])

    if __name__ == "__main__":
        main()
"""


@pytest.mark.slow
def test_settings_of_libraries_are_as_main_has_left_them(tmp_path: Path) -> None:
    for name in ("torch", "pandas", "sklearn"):
        pytest.importorskip(name)
    said = run_script(tmp_path, SETTINGS)
    assert "6 jobs are the same" in said
    assert "[True, 'medium', True, True, False, Decimal('0.33333'), {'divide': 'raise'" in said
    assert "array([0.333]), 'spawn', 4321, 77, True, " in said
    assert "'C.UTF-8', True, False, (5000, 5, 5)]" in said
    assert "workers " not in said.replace("job m0r0", "")


@pytest.mark.slow
def test_settings_of_jax_are_as_main_has_left_them(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    said = run_script(
        tmp_path,
        """
        import jax
        import jax.numpy as jnp

        def train(job):
            x = jnp.sin(jnp.array(job.hyperparameters["lr"]))
            return {"Q": float(x), "bits": x.dtype.itemsize * 8}

        if __name__ == "__main__":
            jax.config.update("jax_enable_x64", True)
            run(train, rounds=1)
        """,
    )
    assert "6 jobs are the same" in said


def test_what_a_script_sets_in_its_own_modules_is_there_in_workers(tmp_path: Path) -> None:
    write_modules(
        tmp_path,
        config="""
            width, loss, sizes = 1, None, [1]
            CFG = {"k": 1}

            class Net:
                depth = 1

            class Cfg:
                def __init__(self):
                    self.lr = 1.0

            cfg = Cfg()
            """,
        registry="""
            MODELS = {}

            def register(function):
                MODELS[function.__name__] = function
                return function
            """,
        only_in_training="from config import width\nscale = 1\n",
    )
    said = run_script(
        tmp_path,
        """
        import functools
        import config, registry
        from config import CFG, width

        def double(x):
            return 2 * x

        @registry.register
        def three():
            return 3

        def train(job):
            import only_in_training
            assert CFG is config.CFG and registry.MODELS["three"] is three
            seen = [config.width, width, CFG["k"], config.cfg.lr, config.Net.depth, config.sizes,
                    config.loss(2), only_in_training.scale, only_in_training.width,
                    {name: f() for name, f in registry.MODELS.items()}]
            return {"Q": job.hyperparameters["lr"], "seen": str(seen)}

        def main():
            import only_in_training
            config.width, CFG["k"], config.cfg.lr, config.Net.depth = 32, 4, 0.5, 6
            config.sizes = config.sizes + [config.width]
            config.loss, only_in_training.scale = double, 7
            seven = 7

            @registry.register
            def local():
                return seven

            registry.MODELS["half"] = functools.partial(double, 0.5)
            run(train, workers=(0, 1, 2), rounds=1)
            print(ev.load_study("w2", store="sqlite:///s.db").jobs()[0].metrics["seen"])

        if __name__ == "__main__":
            main()
        """,
    )
    assert "6 jobs are the same" in said
    assert "[32, 1, 4, 0.5, 6, [1, 32], 4, 7, 1, {'three': 3, 'local': 7, 'half': 1.0}]" in said
    assert "workers have not" not in said


def test_what_cannot_be_carried_is_named_once_and_what_makes_itself_is_not(tmp_path: Path) -> None:
    write_modules(
        tmp_path,
        parts="""
            import threading

            class Client:
                def __init__(self):
                    self.lock = threading.Lock()

            client, made, STEPS, same = None, None, {}, Client()
            SIZES = {"large": threading.Lock()}

            def make():
                global made
                if made is None:
                    made = Client()
                return made
            """,
    )
    said = run_script(
        tmp_path,
        """
        import parts

        def train(job):
            return {"Q": job.hyperparameters["lr"]}

        def main():
            lock = parts.Client().lock

            def step():
                return lock

            parts.make()
            parts.client, parts.STEPS["step"] = parts.make(), step
            parts.SIZES["small"] = lock
            run(train, rounds=1)

        if __name__ == "__main__":
            main()
        """,
    )
    (line,) = [line for line in said.splitlines() if "workers have not" in line]
    assert "in module parts: client (Client), SIZES (dict), STEPS['step']: " in line
    assert "set it at the top level of the script" in line


def test_an_object_in_two_containers_is_one_in_workers_too(tmp_path: Path) -> None:
    write_modules(tmp_path, shared="NET, HELD = None, []\n")
    said = run_script(
        tmp_path,
        """
        import argparse, collections
        import shared

        NET, CONFIG, ORDER = {"w": 1}, {"net": None}, collections.deque([1], maxlen=2)
        HELD = [NET]

        def steps(net=NET):
            return net["w"]

        def train(job):
            assert CONFIG["net"] is NET is HELD[0] is shared.NET is ARGS.net
            assert shared.HELD[0] is ORDER and ORDER.maxlen == 2 and list(ORDER) == [1, 2]
            assert CONFIG["args"] is ARGS
            return {"Q": job.hyperparameters["lr"], "steps": steps()}

        if __name__ == "__main__":
            NET["w"], CONFIG["net"], shared.NET = 5, NET, NET
            ORDER.append(2)
            shared.HELD.append(ORDER)
            ARGS = argparse.Namespace(net=NET)
            CONFIG["args"] = ARGS
            run(train, workers=(0, 1, 2), rounds=1)
        """,
    )
    assert "6 jobs are the same" in said
    assert "failed" not in said


def test_a_setting_that_sets_another_is_not_mixed_with_it() -> None:
    torch = pytest.importorskip("torch")
    before = settings_of_process()["torch"]
    try:
        torch.set_float32_matmul_precision("medium")
        wanted = settings_of_process()["torch"]
        torch.set_float32_matmul_precision("highest")
        apply_settings(torch, wanted)
        assert torch.get_float32_matmul_precision() == "medium", "PyTorch refuses to say it if so"
    finally:
        apply_settings(torch, before)


def test_settings_are_read_and_not_changed() -> None:
    before = threading.stack_size(1 << 20)  # which sets it, even when it is asked without a size
    try:
        assert settings_of_process() == settings_of_process()
        assert threading.stack_size(before) == 1 << 20
    finally:
        threading.stack_size(before)


def test_a_setting_that_this_release_refuses_is_named(caplog: pytest.LogCaptureFixture) -> None:
    apply_settings(sys, {"sys.setrecursionlimit": -1, "sys.of_a_release_to_come": 2})
    assert "workers go without what sys.setrecursionlimit has set: " in caplog.text


def test_a_module_is_met_at_the_end_of_its_import_and_not_imported_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_modules(tmp_path, met_late="x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    met: list[int] = []
    for _ in range(2):
        when_imported("met_late", lambda module: met.append(module.x))
    assert find_spec("met_late") is not None
    assert met == [], "whoever asks whether it is there does not import it"
    met_late = import_module("met_late")
    assert met == [1, 1]
    when_imported("met_late", lambda module: met.append(module.x + 1))
    assert met == [1, 1, 2]
    assert inspect.getsource(met_late) == "x = 1\n"
    del sys.modules["met_late"]
    import_module("met_late")
    assert met == [1, 1, 2], "once"


def test_all_workers_run_the_text_with_which_the_script_has_started(tmp_path: Path) -> None:
    write_modules(tmp_path, config="value = 1\n")
    said = run_script(
        tmp_path,
        """
        import signal
        import config

        def train(job):
            if os.getpid() != RUNNER and not Path("killed").exists():
                Path("killed").touch()
                Path("config.py").write_text("value = 2\\n")  # while it trains
                os.kill(os.getpid(), signal.SIGKILL)
            return {"Q": job.hyperparameters["lr"], "value": value(), "config": config.value}

        def value():
            return 1

        if __name__ == "__main__":
            RUNNER = os.getpid()
            text = Path(__file__).read_text()
            Path(__file__).write_text(text.replace("return 1", "return 2"))
            run(train, workers=(0, 1), rounds=1)
            (job, *_) = ev.load_study("w1", store="sqlite:///s.db").jobs()
            print(f"seen: {job.metrics['value']} {job.metrics['config']}")
        """,
    )
    assert "6 jobs are the same" in said
    assert "killed by SIGKILL (out of memory, or by hand): replacing it" in said
    assert "seen: 1 1" in said


def test_a_module_that_was_edited_before_the_run_is_named(tmp_path: Path) -> None:
    write_modules(tmp_path, config="value = 1\n", other="value = 1\n")
    os.utime(tmp_path / "other.py", (1, 1))
    os.utime(tmp_path / "config.py", (1, 1))
    said = run_script(
        tmp_path,
        """
        import config, other

        def train(job):
            return {"Q": job.hyperparameters["lr"]}

        if __name__ == "__main__":
            Path("config.py").write_text("value = 2")
            run(train, workers=(1,), rounds=1)
        """,
    )
    (line,) = [line for line in said.splitlines() if "edited since" in line]
    assert line.endswith("workers have the new text: " + str(tmp_path / "config.py"))


def test_the_text_of_a_module_is_kept_though_its_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept_package").mkdir()
    write_modules(tmp_path / "kept_package", __init__="x = 1\n", inner="from . import x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("kept_package.inner")
    texts = {n: text for n, text in texts_of_modules().items() if n.startswith("kept_package")}
    for name in texts:
        monkeypatch.delitem(sys.modules, name)
    shutil.rmtree(tmp_path / "kept_package")
    keep_texts(texts)
    inner = import_module("kept_package.inner")
    assert inner.x == 1
    assert inspect.getsource(inner) == "from . import x\n"
    assert sorted(texts) == ["kept_package", "kept_package.inner"]


def test_a_namespace_that_main_changes_is_so_in_workers(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
        from types import SimpleNamespace
        SETTINGS = SimpleNamespace(gain=1.0)

        def train(job):
            return {"Q": SETTINGS.gain * job.hyperparameters["lr"]}

        if __name__ == "__main__":
            SETTINGS.gain = 2.0
            run(train)
        """,
    )
    assert "18 jobs are the same" in said


def test_flags_of_absl_are_parsed_in_workers_and_as_main_has_set_them(tmp_path: Path) -> None:
    pytest.importorskip("absl")
    write_modules(
        tmp_path, config="from absl import flags\nflags.DEFINE_float('gain', 1.0, 'help')\n"
    )
    said = run_script(
        tmp_path,
        """
        from absl import app, flags
        import config

        FLAGS = flags.FLAGS
        flags.DEFINE_integer("epochs", 3, "help")
        flags.DEFINE_string("mode", "a", "help")

        def train(job):
            value = FLAGS.gain * FLAGS.epochs * job.hyperparameters["lr"]
            return {"Q": value, "mode": FLAGS.mode}

        def main(_):
            FLAGS.mode = "b"
            run(train)
            (job, *_) = ev.load_study("w2", store="sqlite:///s.db").jobs()
            print("seen", job.metrics["mode"], job.score / job.hyperparameters["lr"])

        if __name__ == "__main__":
            app.run(main)
        """,
        "--epochs=5",
        "--gain=2",
    )
    assert "18 jobs are the same" in said
    assert "seen b 10.0" in said
