"""The front door of comparisons: from names of studies to arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import chain, count, takewhile
from typing import Any, Protocol, TypeAlias

from evolvent.analysis.comparison.compare import compare_logs
from evolvent.analysis.comparison.comparison import Comparison
from evolvent.analysis.log import Log
from evolvent.core.study import Mode
from evolvent.errors import ConfigError, UnknownStudy
from evolvent.store import open_store
from evolvent.store.protocol import Store
from evolvent.validation import DEFAULT_STORE, check_choice, cut

_WILD = frozenset("*?[")


class InStore(Protocol):
    """A `Study` or a `Result`: knows where its log lies."""

    @property
    def store(self) -> Store: ...


StudyLike: TypeAlias = str | InStore
ArmLike: TypeAlias = StudyLike | Sequence[StudyLike]


def compare(
    *arms: ArmLike | Mapping[str, ArmLike],
    store: str | Store = DEFAULT_STORE,
    test: str | None = None,
    test_mode: Mode | None = None,
) -> Comparison:
    """Compare studies, or groups of them that differ by their seeds, at equal compute.

    Compute is counted in jobs. When the studies have not trained equally many, that is said, and
    every one is looked at after as many jobs as the shortest has.

    Example:
        Three seeds of each, by pattern, by list, or with names of your own::

            ev.compare("pbt-*", "rs-*", test="test_accuracy")
            ev.compare(["pbt-1", "pbt-2", "pbt-3"], ["rs-1", "rs-2", "rs-3"])
            ev.compare({"PBT": "pbt-*", "random search": "rs-*"})

    Args:
        arms: a study, the name of one, a pattern of names (`*`, `?`, `[…]`), or a list of these:
            the seeds of one arm. The first arm is held against every other. A dict names arms.
        store: where names are looked up.
        test: a metric that had no say in choosing the best job, such as `"test_accuracy"`.
        test_mode: `"max"` or `"min"`; by default as with the metric of the studies.

    Raises:
        UnknownStudy: there is no study of that name or pattern; names the ones there are.
        ConfigError: a study is in two arms, has no finished job, or another metric or mode; or it
            does not report the test metric.
    """
    if test_mode is not None:
        check_choice("test_mode", test_mode, ("max", "min"))
    return compare_logs(read_arms(*arms, store=store), test=test, test_mode=test_mode)


def read_arms(
    *arms: ArmLike | Mapping[str, ArmLike], store: str | Store = DEFAULT_STORE
) -> dict[str, list[Log]]:
    """Return the logs of every arm by its name; arguments and errors as `compare`."""
    named: list[tuple[str | None, ArmLike]] = []
    for arm in arms:
        named.extend(arm.items() if isinstance(arm, Mapping) else [(None, arm)])
    if not named:
        raise ConfigError("compare: got no study, wanted two or more")
    # Opened when the first name is looked up, and not again.
    opened = cache(lambda: open_store(store, create=False) if isinstance(store, str) else store)
    found: dict[str, list[tuple[Store, int, str]]] = {}
    for name, arm in named:
        studies = [study for wanted in _as_list(arm) for study in _find(wanted, opened)]
        if not studies:
            raise ConfigError("compare: got an arm without a study, wanted one or more in each")
        label = name if name is not None else _label(arm, [study for *_, study in studies])
        found[_unused_label(label, found)] = studies
    _check_disjoint(found)
    return {name: [Log.read(s, id) for s, id, _ in studies] for name, studies in found.items()}


def _find(study: StudyLike, opened: Callable[[], Store]) -> list[tuple[Store, int, str]]:
    """Return the studies that are meant: store, number and name of each."""
    if not isinstance(study, str):
        return [_study_of(study)]
    store = opened()
    ids = {status.record.name: status.id for status in store.studies()}
    if study in ids or not _WILD & set(study):
        return [(store, store.find_study(study).id, study)]
    names = [name for name in ids if fnmatchcase(name, study)]
    if not names:
        raise UnknownStudy(
            f"no study fits the pattern {study!r} in {store.url}, there are "
            f"{', '.join(ids) or 'none'}"
        )
    return [(store, ids[name], name) for name in names]


def _as_list(arm: Any) -> list[StudyLike]:
    if isinstance(arm, Sequence) and not isinstance(arm, str):
        return list(arm)
    return [arm]


def _study_of(study: Any) -> tuple[Store, int, str]:
    status = getattr(study, "status", None)
    if callable(status):  # a Study has a method, a Result what it returned
        status = status()
    if status is None or not hasattr(study, "store"):
        raise ConfigError(
            f"compare: got {type(study).__name__} {cut(study)}, wanted a Study, the name of one, "
            "a pattern, or a list of these"
        )
    return study.store, status.id, status.record.name


def _label(arm: Any, names: Sequence[str]) -> str:
    """Return the pattern, the one name, or what the names begin with."""
    ones = _as_list(arm)
    if len(ones) == 1 and isinstance(ones[0], str):
        return ones[0]
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    stem = "".join(letters[0] for letters in alike).rstrip(" -_./:0123456789")
    return stem or f"{names[0]} and {len(names) - 1} more"


def _unused_label(label: str, taken: Mapping[str, Any]) -> str:
    numbered = (f"{label} ({n})" for n in count(2))
    return next(unused for unused in chain([label], numbered) if unused not in taken)


def _check_disjoint(found: Mapping[str, Sequence[tuple[Store, int, str]]]) -> None:
    seen: dict[tuple[Any, int], str] = {}
    for arm, studies in found.items():
        for store, id, name in studies:
            place = store if store.url.startswith("memory:") else store.url
            if (place, id) in seen:
                where = f"twice in {arm!r}" if seen[place, id] == arm else f"also in {arm!r}"
                raise ConfigError(
                    f"study {name!r} is in the arm {seen[place, id]!r} and {where}: wanted every "
                    "study once"
                )
            seen[place, id] = arm
