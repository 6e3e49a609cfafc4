"""Settings of well-known libraries, which workers take over from the script as they are there.

They are read only of what the script has imported, and set when a worker imports it, too. State of
random generators is none of them: training draws from `job.seed`.
"""

from __future__ import annotations

import logging
import os
import sys
import types
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any

from evolvent.engines.place.plain_data import is_data, is_users_class
from evolvent.engines.place.script import running_cells, running_script
from evolvent.engines.place.sources import texts_of_modules

_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_UNKNOWN = object()
_POOL_LIMITS = ("threadpool_limits", "ThreadpoolController")
_logger = logging.getLogger("evolvent")


@dataclass(frozen=True, slots=True)
class _Setting:
    """One setting, or a mapping of many, of which those that differ are set.

    Attributes:
        name: how the user knows it, such as `torch.set_default_dtype`.
        get: reads it off the library.
        set: sets it; of a mapping, those that are given.
    """

    name: str
    get: Callable[[Any], Any]
    set: Callable[[Any, Any], object]


def _pair(library: str, get: str, set_: str) -> _Setting:
    """Return a setting that one function reads and another one sets."""
    return _Setting(
        f"{library}.{set_}",
        lambda lib: attrgetter(get)(lib)(),
        lambda lib, value: attrgetter(set_)(lib)(value),
    )


def _keywords(library: str, get: str, set_: str) -> _Setting:
    """Return settings that one function reads as a dict and another one takes as keywords."""
    return _Setting(
        f"{library}.{set_}",
        lambda lib: attrgetter(get)(lib)(),
        lambda lib, values: attrgetter(set_)(lib)(**values),
    )


def _attribute(library: str, path: str) -> _Setting:
    home, _, name = path.rpartition(".")
    return _Setting(
        f"{library}.{path}",
        attrgetter(path),
        lambda lib, value: setattr(attrgetter(home)(lib) if home else lib, name, value),
    )


def _update_jax(jax: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)


def _set_absl_flags(flags: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name in flags.FLAGS:  # else no module that a worker has imported defines it
            flags.FLAGS[name].value = value


def _pandas_options(pandas: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    left = [(name, getattr(pandas.options, name)) for name in dir(pandas.options)]
    for name, value in left:  # grows meanwhile: a group has options and other groups
        if type(value) is type(pandas.options):
            left += [(f"{name}.{inner}", getattr(value, inner)) for inner in dir(value)]
        else:
            options[name] = value
    return options


def _set_pandas_options(pandas: Any, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        pandas.set_option(name, value)


def _set_decimal(decimal: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(decimal.getcontext(), name, value)


def _set_gc(gc: Any, enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _set_traceback_filtering(keras: Any, enabled: bool) -> None:
    name = "enable" if enabled else "disable"
    getattr(keras.config, f"{name}_traceback_filtering")()


def _safe_globals(torch: Any) -> list[type]:
    kinds = [kind for kind in torch.serialization.get_safe_globals() if isinstance(kind, type)]
    return sorted(filter(is_users_class, kinds), key=str)  # libraries add theirs themselves


_SETTINGS: dict[str, tuple[_Setting, ...]] = {
    "torch": (
        _pair("torch", "get_default_dtype", "set_default_dtype"),
        _pair("torch", "get_default_device", "set_default_device"),
        # In one number, whether algorithms are to be deterministic and whether that only warns.
        _Setting(
            "torch.use_deterministic_algorithms",
            lambda torch: torch.get_deterministic_debug_mode(),
            lambda torch, mode: torch.set_deterministic_debug_mode(mode),
        ),
        _pair("torch", "get_float32_matmul_precision", "set_float32_matmul_precision"),
        _pair("torch", "is_grad_enabled", "set_grad_enabled"),
        _pair("torch", "is_anomaly_enabled", "autograd.set_detect_anomaly"),
        _Setting(
            "torch.set_num_threads",
            lambda torch: threads_of_torch(torch) or _UNKNOWN,
            lambda torch, n: torch.set_num_threads(n),
        ),
        _pair("torch", "is_warn_always_enabled", "set_warn_always"),
        _pair("torch", "hub.get_dir", "hub.set_dir"),
        _pair("torch", "multiprocessing.get_sharing_strategy",
              "multiprocessing.set_sharing_strategy"),
        _Setting(
            "torch.serialization.add_safe_globals",
            _safe_globals,
            lambda torch, kinds: torch.serialization.add_safe_globals(kinds),
        ),
        *(
            _attribute("torch", f"backends.{name}")
            for name in (
                "cudnn.enabled", "cudnn.deterministic", "cudnn.benchmark", "cudnn.allow_tf32",
                "cudnn.benchmark_limit", "cuda.matmul.allow_tf32",
                "cuda.matmul.allow_fp16_reduced_precision_reduction",
                "cuda.matmul.allow_bf16_reduced_precision_reduction",
                "mkldnn.enabled", "mkldnn.deterministic",
            )
        ),
        *(
            _pair("torch", f"backends.cuda.{name}_enabled", f"backends.cuda.enable_{name}")
            for name in ("flash_sdp", "mem_efficient_sdp", "math_sdp", "cudnn_sdp")
        ),
    ),
    "jax": (_Setting("jax.config.update", lambda jax: dict(jax.config.values), _update_jax),),
    "absl.flags": (
        # `app.run` parses them for `main` only; and what `main` has set in them is kept.
        _Setting(
            "absl.flags.FLAGS.mark_as_parsed",
            lambda flags: flags.FLAGS.is_parsed(),
            lambda flags, parsed: flags.FLAGS.mark_as_parsed() if parsed else None,
        ),
        _Setting(
            "absl.flags.FLAGS",
            lambda flags: {name: flags.FLAGS[name].value for name in flags.FLAGS},
            _set_absl_flags,
        ),
    ),
    "keras": (
        _pair("keras", "config.floatx", "config.set_floatx"),
        _pair("keras", "config.epsilon", "config.set_epsilon"),
        _pair("keras", "config.image_data_format", "config.set_image_data_format"),
        _Setting(
            "keras.config.set_dtype_policy",
            lambda keras: keras.config.dtype_policy().name,
            lambda keras, name: keras.config.set_dtype_policy(name),
        ),
        _Setting(
            "keras.config.disable_traceback_filtering",
            lambda keras: keras.config.is_traceback_filtering_enabled(),
            _set_traceback_filtering,
        ),
    ),
    "numpy": (
        _keywords("numpy", "geterr", "seterr"),
        _keywords("numpy", "get_printoptions", "set_printoptions"),
        # Beside numpy, with which BLAS comes: who limits threads may import the other where it is
        # used.
        _Setting(
            "threadpoolctl.threadpool_limits",
            lambda _: limits_of_pools(),
            lambda _, limits: import_module("threadpoolctl").threadpool_limits(limits),
        ),
    ),
    "pandas": (_Setting("pandas.set_option", _pandas_options, _set_pandas_options),),
    "sklearn": (_keywords("sklearn", "get_config", "set_config"),),
    "decimal": (
        _Setting(
            "decimal.setcontext",
            # Without the flags: what has happened so far, and no setting.
            lambda decimal: {n: getattr(decimal.getcontext(), n) for n in _DECIMAL},
            _set_decimal,
        ),
        _Setting(
            "decimal.getcontext().traps",
            lambda decimal: dict(decimal.getcontext().traps.items()),
            lambda decimal, traps: decimal.getcontext().traps.update(traps),
        ),
    ),
    "locale": (
        _Setting(
            "locale.setlocale",
            lambda locale: locale.setlocale(locale.LC_ALL),
            lambda locale, value: locale.setlocale(locale.LC_ALL, value),
        ),
    ),
    "multiprocessing": (
        _Setting(
            "multiprocessing.set_start_method",
            lambda multiprocessing: multiprocessing.get_start_method(allow_none=True),
            lambda multiprocessing, name: multiprocessing.set_start_method(name, force=True),
        ),
    ),
    "sys": (
        _pair("sys", "getrecursionlimit", "setrecursionlimit"),
        _pair("sys", "get_int_max_str_digits", "set_int_max_str_digits"),
        _pair("sys", "getswitchinterval", "setswitchinterval"),
    ),
    "gc": (
        _Setting("gc.disable", lambda gc: gc.isenabled(), _set_gc),
        _Setting(
            "gc.set_threshold",
            lambda gc: gc.get_threshold(),
            lambda gc, thresholds: gc.set_threshold(*thresholds),
        ),
    ),
    "socket": (_pair("socket", "getdefaulttimeout", "setdefaulttimeout"),),
    "tempfile": (_attribute("tempfile", "tempdir"),),
}  # fmt: skip


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a container or a queue may grant fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_of_torch(torch: Any) -> int | None:
    """Return the number of PyTorch's threads if the user has set it; None: it is its own choice."""
    # Its own choice, all cores, may be what the user sets, too: only the text tells which it is.
    n: int = torch.get_num_threads()
    is_limited = n < usable_cores() and _users_text_has(*_POOL_LIMITS)
    return n if is_limited or _users_text_has("set_num_threads") else None


def limits_of_pools() -> dict[str, int]:
    """Return to how many threads the user has limited BLAS and OpenMP by `threadpoolctl`."""
    if not _users_text_has(*_POOL_LIMITS):
        return {}
    pools = import_module("threadpoolctl").threadpool_info()
    cores = usable_cores()  # of whoever limits only a part of what training does
    return {pool["prefix"]: n for pool in pools if (n := pool["num_threads"]) < cores}


def _users_text_has(*words: str) -> bool:
    """Whether a word is in the script, in the notebook's cells or in the user's own modules."""
    code = running_script() or running_cells()
    texts = [text.text for text in texts_of_modules().values()]
    if code is not None:
        texts.append(code.source.encode())
    return any(word.encode() in text for word in words for text in texts)


CARRIED = frozenset(
    {setting.name for settings in _SETTINGS.values() for setting in settings}
    | {"torch.set_deterministic_debug_mode", "keras.backend.set_floatx", "decimal.getcontext()"}
)
"""The names of the settings, as a script calls or sets them."""


def settings_of_process(known: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Return the settings of the libraries that are imported: by library, by name.

    Args:
        known: the names of `__main__` that the other process has by itself.
    """
    found: dict[str, dict[str, Any]] = {}
    for library, settings in _SETTINGS.items():
        if (module := sys.modules.get(library)) is not None:
            values = {setting.name: _value(setting, module) for setting in settings}
            found[library] = {name: x for name, x in values.items() if is_data(x, known)}
    return found


def apply_settings(module: types.ModuleType, values: Mapping[str, Any]) -> None:
    """Set those of the settings of a library that are others here."""
    for setting in _SETTINGS[module.__name__]:
        if setting.name not in values:
            continue
        value = values[setting.name]
        try:
            mine = _value(setting, module)  # now: one that is set may set others
            if isinstance(value, dict) and isinstance(mine, dict):
                value = {n: x for n, x in value.items() if n not in mine or mine[n] != x}
            if value in (mine, {}):
                continue
            setting.set(module, value)
        except Exception as e:  # noqa: BLE001 - whatever a library raises: training can go on
            _logger.warning("workers go without what %s has set: %s", setting.name, e)


def _value(setting: _Setting, module: types.ModuleType) -> Any:
    """Return what a library has; what is no data if it has no such setting in this release."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a library is about to rename
        try:
            value = setting.get(module)
        except Exception:  # noqa: BLE001 - whatever it raises
            return _UNKNOWN
    if isinstance(value, dict):
        return {name: x for name, x in value.items() if is_data(x)}
    return value
