from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.core.distributions import (
    Choice,
    Constant,
    IntUniform,
    LogIntUniform,
    LogUniform,
    Normal,
    Ordinal,
    ReverseLogUniform,
    Uniform,
)
from evolvent.errors import ConfigError, OutOfSpace
from tests.core.builders import distributions, number_distributions, seeded


class _Optimizer(str, Enum):  # noqa: UP042 - a StrEnum is its value as a text, this one is not
    SGD = "sgd"


class _Depth(int, Enum):
    TWO = 2


class _Loud(str):
    def __str__(self) -> str:
        return self.upper()


@given(distributions(), st.integers(0, 2**32))
def test_samples_lie_inside_and_have_plain_types(distribution: Any, seed: int) -> None:
    value = distribution.sample(seeded(seed))
    assert distribution.contains(value)
    assert type(value) in (float, int, str, bool, type(None))
    assert type(distribution.check(value)) is type(value)


@given(number_distributions(), st.floats(allow_nan=False))
def test_clip_and_reflect_end_inside(distribution: Any, value: float) -> None:
    assert distribution.contains(distribution.clip(value))
    assert distribution.contains(distribution.reflect(value))


@given(distributions(), st.integers(0, 2**32))
def test_what_is_inside_is_neither_clipped_nor_reflected(distribution: Any, seed: int) -> None:
    value = distribution.sample(seeded(seed))
    assert distribution.clip(value) == distribution.reflect(value) == value


def test_reflecting_mirrors_on_the_plain_scale() -> None:
    assert Uniform(0, 1).reflect(1.25) == 0.75
    assert Uniform(0, 1).reflect(-0.25) == 0.25
    assert Uniform(0, 1).reflect(2.25) == 0.25
    assert IntUniform(1, 10).reflect(12) == 8


def test_reflecting_mirrors_a_logarithmic_scale_on_the_logarithm() -> None:
    assert LogUniform(0.01, 1).reflect(2.0) == pytest.approx(0.5)
    assert LogUniform(0.01, 1).reflect(0.005) == pytest.approx(0.02)
    assert LogIntUniform(1, 100).reflect(200) == 50
    assert ReverseLogUniform(0.9, 0.999).reflect(0.8) == pytest.approx(0.95)


def test_reflecting_what_has_no_logarithm_ends_at_the_bound() -> None:
    assert LogUniform(0.01, 1).reflect(-3.0) == 0.01
    assert LogIntUniform(2, 8).reflect(0) == 2
    assert ReverseLogUniform(0.9, 0.999).reflect(3.0) == 0.999
    assert Uniform(0, 1).reflect(math.inf) == 1.0


def test_a_float_stays_a_float_and_an_integer_an_integer() -> None:
    assert repr(Uniform(0, 1)) == "Uniform(low=0.0, high=1.0)"
    assert repr(IntUniform(1.0, 8)) == "IntUniform(low=1, high=8)"
    assert repr(Uniform(0, 2).check(1)) == "1.0"
    assert repr(IntUniform(0, 2).check(1.0)) == "1"
    assert repr(IntUniform(0, 9).clip(3.7)) == "4"
    assert repr(IntUniform(0, 9).check(np.int64(3))) == "3"
    assert repr(Uniform(0, 9).check(np.float32(0.5))) == "0.5"


@pytest.mark.parametrize("value", [True, "1", None, math.nan, [1]])
@pytest.mark.parametrize("method", ["check", "clip", "reflect"])
def test_only_numbers_are_numbers(method: str, value: Any) -> None:
    for distribution in (Uniform(0, 2), IntUniform(0, 2), Normal(0, 1)):
        with pytest.raises(OutOfSpace, match="wanted a"):
            getattr(distribution, method)(value)


@pytest.mark.parametrize(
    ("distribution", "value", "message"),
    [
        (Uniform(0, 1), 1.5, r"got 1\.5, wanted a number from 0\.0 to 1\.0"),
        (IntUniform(1, 8), 9, "got 9, wanted an integer from 1 to 8"),
        (IntUniform(1, 8), 2.5, r"got 2\.5, wanted an integer from 1 to 8"),
        (Normal(0, 1), math.inf, "got inf, wanted a finite number"),
        (Choice(["a", "b"]), "c", "got 'c', wanted one of 'a', 'b'"),
        (Ordinal([1, 2]), True, "got True, wanted one of 1, 2"),
        (Constant("a"), "b", "got 'b', wanted the constant 'a'"),
        (Constant(1), True, "got True, wanted the constant 1"),
    ],
)
def test_a_value_outside_is_refused_with_what_was_wanted(
    distribution: Any, value: Any, message: str
) -> None:
    assert not distribution.contains(value)
    with pytest.raises(OutOfSpace, match=message):
        distribution.check(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 0), r"Uniform: got low=1\.0, high=0\.0, wanted low below high"),
        (lambda: Uniform(1, 1), "a single value is a Constant"),
        (lambda: Uniform(-1e308, 1e308), "finite distance"),
        (lambda: Uniform("a", 1), r"Uniform\.low: got 'a', wanted a finite number"),
        (lambda: Uniform(0, math.nan), r"Uniform\.high: got nan"),
        (lambda: LogUniform(0, 1), r"LogUniform\.low: got 0, wanted a number above 0"),
        (lambda: LogIntUniform(0, 1), r"LogIntUniform\.low: got 0, wanted a number above 0"),
        (lambda: ReverseLogUniform(0.9, 1), r"ReverseLogUniform\.high: got 1, wanted .* below 1"),
        (lambda: IntUniform(0, 1.5), r"IntUniform\.high: got 1\.5, wanted an integer"),
        (lambda: IntUniform(0, 2**60), r"at most 2\*\*53"),
        (lambda: Normal(0, 0), r"Normal\.sd: got 0, wanted a finite number above 0"),
        (lambda: Choice([]), r"Choice\.values: got \[\], wanted a list of one or more"),
        (lambda: Choice("abc"), r"Choice\.values: got 'abc'"),
        (lambda: Choice([1, 1.0]), "wanted each value once"),
        (lambda: Ordinal([object()]), "Ordinal: got <object .*wanted strings, numbers, booleans"),
        (lambda: Choice({1, 2}), r"Choice\.values: got \{1, 2\}, which has no order"),
        (lambda: Choice([dict, list]), "Choice: got <class 'dict'>, a class: give it a name"),
        (lambda: Choice([[1, 2], (1, 2.0)]), r"\(1, 2\.0\)\], wanted each value once"),
        (lambda: Constant({1: 2}), "wanted names that are strings"),
        (lambda: Constant([[math.nan]]), "wanted a finite number"),
        (lambda: Constant(["x" * 10_000]), "more than 10000 characters"),
        (lambda: Ordinal([math.inf]), "Ordinal: got inf, wanted a finite number"),
        (lambda: Choice([1, 2], weights=[1]), r"Choice\.weights: got \(1\.0,\), wanted 2 numbers"),
        (lambda: Choice([1, 2], weights=[1, -1]), r"Choice\.weights"),
        (lambda: Choice([1, 2], weights=[0, 0]), "not all 0"),
    ],
)
def test_bad_distributions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_listed_values_are_found_by_value_but_not_across_kinds() -> None:
    mixed = Choice([1, True, "1", None, 0.5])
    assert [mixed.place(v) for v in (1.0, True, "1", None, np.float32(0.5))] == [0, 1, 2, 3, 4]
    assert repr(Ordinal([16, 32]).check(32.0)) == "32"


def test_every_integer_of_a_range_is_drawn_alike() -> None:
    rng = seeded(0)
    counts = Counter(IntUniform(1, 4).sample(rng) for _ in range(4000))
    assert sorted(counts) == [1, 2, 3, 4]
    assert all(abs(n - 1000) < 4 * math.sqrt(750) for n in counts.values())


def test_a_logarithmic_range_gives_every_factor_the_same_share() -> None:
    rng = seeded(0)
    floats = [LogUniform(1e-4, 1).sample(rng) for _ in range(4000)]
    assert abs(sum(x < 1e-2 for x in floats) - 2000) < 4 * math.sqrt(1000)
    reverse = [ReverseLogUniform(0.9, 0.999).sample(rng) for _ in range(4000)]
    assert abs(sum(x < 0.99 for x in reverse) - 2000) < 4 * math.sqrt(1000)
    assert 0.9 <= min(reverse) < max(reverse) <= 0.999
    integers = Counter(LogIntUniform(1, 7).sample(rng) for _ in range(6000))
    assert abs(integers[1] - 2000) < 4 * math.sqrt(6000 * 2 / 9)  # log(2/1) of log(8/1): a third
    assert sorted(integers) == [1, 2, 3, 4, 5, 6, 7]


def test_normal_has_its_mean_and_deviation() -> None:
    rng = seeded(0)
    values = [Normal(3, 2).sample(rng) for _ in range(10_000)]
    assert np.mean(values) == pytest.approx(3, abs=0.08)
    assert np.std(values) == pytest.approx(2, abs=0.06)
    assert abs(sum(x > 5 for x in values) / 10_000 - 0.1587) < 0.015


def test_weights_are_respected() -> None:
    rng = seeded(0)
    choice = Choice(["a", "never", "c"], weights=[3, 0, 1])
    counts = Counter(choice.sample(rng) for _ in range(4000))
    assert set(counts) == {"a", "c"}
    assert abs(counts["a"] - 3000) < 4 * math.sqrt(750)


def test_samples_are_the_same_on_every_machine() -> None:
    rng = seeded(5)
    assert Uniform(1, 3).sample(rng) == 1 + 2 * seeded(5).random()
    assert [IntUniform(0, 9).sample(seeded(s)) for s in range(5)] == [6, 5, 2, 0, 9]


def test_normal_has_no_bounds_but_those_of_floats() -> None:
    assert Normal(0, 1).reflect(-math.inf) == -1.7976931348623157e308
    assert Normal(0, 1).clip(1e30) == 1e30
    assert Normal(0, 1).unscaled(Normal(0, 1).scaled(2.5)) == 2.5


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (np.float32(0.5), 0.5),
        (np.array(3), 3),
        (np.bool_(True), True),
        (np.array([[16, 32]]), [[16, 32]]),
        ((64, (1.5, None)), (64, (1.5, None))),
        (np.str_("sgd"), "sgd"),
        (_Optimizer.SGD, "sgd"),
        (_Depth.TWO, 2),
        (_Loud("sgd"), "sgd"),
        ({_Optimizer.SGD: (_Optimizer.SGD,)}, {"sgd": ("sgd",)}),
        ({"name": "sgd", "nesterov": np.bool_(False)}, {"name": "sgd", "nesterov": False}),
    ],
    ids=repr,
)
def test_a_value_keeps_its_form_and_has_types_of_python(given: Any, value: Any) -> None:
    kept = Constant(given).value
    assert kept == value
    assert repr(kept) == repr(value)


@pytest.mark.parametrize("kind", [Choice, Ordinal])
def test_members_of_an_enumeration_are_values_like_those_they_have(kind: type[Choice]) -> None:
    assert repr(kind([_Optimizer.SGD, _Depth.TWO, "adam"]).values) == "('sgd', 2, 'adam')"
    assert repr(kind(["adam", "sgd"]).check(_Optimizer.SGD)) == "'sgd'"
    assert repr(kind(["adam", "sgd"], initial=_Optimizer.SGD).initial) == "'sgd'"
    assert repr(IntUniform(0, 4).check(_Depth.TWO)) == "2"


@pytest.mark.parametrize("kind", [Choice, Ordinal])
def test_what_holds_no_values_as_it_is_is_told_what_to_write(kind: type[Choice]) -> None:
    with pytest.raises(ConfigError, match=r"\.values: got .*ev\.Choice\(\[member\.value for"):
        kind(_Optimizer)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [(Enum("Size", "SMALL").SMALL, r"Size\.SMALL\.value"), (Path("data"), r"str\(path\)")],
)
def test_a_value_that_no_log_can_hold_is_told_its_plain_one(value: Any, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"got .*, wanted its .*{remedy}"):
        Choice(["a", {"inner": [value]}])


@pytest.mark.parametrize("kind", [Choice, Ordinal])
def test_arrays_are_lists_of_values(kind: type[Choice]) -> None:
    assert kind(np.array([16, 32])).values == (16, 32)
    assert kind(np.array([[64, 64], [400, 300]])).values == ([64, 64], [400, 300])


def test_tuples_and_lists_are_the_same_value_which_the_log_has_as_a_list() -> None:
    widths = Choice([(64, 64), (128, 128)])
    assert widths.check((128, 128)) == widths.check([128, 128.0]) == [128, 128]
    assert widths.given([128, 128]) == (128, 128)
    assert widths == Choice([[64, 64], [128, 128]]) != Choice([[64, 64], [128, 129]])
    assert hash(widths) == hash(Choice([[64, 64], [128, 128]]))
    assert Choice([1, "1"]) != Choice([True, "1"])
    assert Constant((1, 2)) == Constant([1, 2]) != Constant([True, 2])


def test_a_value_that_is_changed_changes_no_other() -> None:
    widths = Choice([[64, 64]])
    widths.check([64, 64]).append(1)  # type: ignore[union-attr]
    widths.given([64, 64]).append(1)  # type: ignore[union-attr]
    assert widths.values == ([64, 64],)


def test_bounds_may_be_scalars_of_numpy() -> None:
    assert Uniform(np.float32(0.5), np.array(2)) == Uniform(0.5, 2.0)
    assert IntUniform(np.int64(1), np.int32(8)).check(np.array(3)) == 3


@pytest.mark.parametrize(
    ("distribution", "starts"),
    [
        (LogUniform(1e-5, 1.0, initial=LogUniform(1e-4, 1e-2)), lambda x: 1e-4 <= x <= 1e-2),
        (Uniform(0, 1, initial=1), lambda x: x == 1.0 and type(x) is float),
        (IntUniform(1, 9, initial=Ordinal([2, 4])), lambda x: x in {2, 4}),
        (Normal(0, 1, initial=Uniform(-0.1, 0.1)), lambda x: abs(x) <= 0.1),
        (Choice(["a", "b", "c"], initial="b"), lambda x: x == "b"),
        (Choice([(1, 2), (3,)], initial=[1, 2]), lambda x: x == [1, 2]),
        (Ordinal([1, 2, 4, 8], initial=Choice([2, 4])), lambda x: x in {2, 4}),
        (LogIntUniform(1, 100), lambda x: 1 <= x <= 100),
    ],
)
def test_a_member_starts_within_the_initial_distribution(distribution: Any, starts: Any) -> None:
    rng = seeded(0)
    assert all(starts(distribution.sample_initial(rng)) for _ in range(50))
    assert any(not starts(distribution.sample(rng)) for _ in range(200)) or not distribution.initial
    assert eval(repr(distribution)) == distribution
    assert distribution != replace(distribution, initial=None) or not distribution.initial


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0, 1, initial=2), r"Uniform\.initial: got 2, wanted a number from 0"),
        (lambda: Uniform(0, 1, initial=Uniform(0.5, 2)), r"Uniform\.initial: got 2\.0, wanted"),
        (lambda: Uniform(0, 1, initial=Normal(0, 1)), "has no bounds, wanted a number from"),
        (lambda: IntUniform(0, 9, initial=Uniform(1, 2)), "wanted one of integers"),
        (lambda: IntUniform(0, 9, initial=2.5), r"got 2\.5, wanted an integer from 0"),
        (lambda: Choice([1, 2], initial=3), r"Choice\.initial: got 3, wanted one of 1, 2"),
        (
            lambda: Uniform(0, 1, initial=Uniform(0, 1, initial=0.5)),
            "wanted one without its own initial",
        ),
    ],
)
def test_an_initial_distribution_lies_within(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
