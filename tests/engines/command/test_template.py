"""Commands with placeholders: what each job's arguments are."""

from __future__ import annotations

from typing import Any

import pytest

from evolvent.engines.command.template import JOB_VALUES, Template, options
from evolvent.errors import ConfigError

NAMES = ("lr", "optimizer.momentum", "batch_size", "decay")
HYPERPARAMETERS = {"lr": 0.1, "optimizer.momentum": 0.9, "batch_size": 32, "decay": None}
JOB: dict[str, str | None] = {
    **dict.fromkeys(JOB_VALUES, "x"), "checkpoint": "/old", "directory": "/new", "seed": "7",
    "device": None,
}  # fmt: skip
FIRST = {**JOB, "checkpoint": None}
ALL = ["--lr", "0.1", "--optimizer.momentum", "0.9", "--batch-size", "32"]


def filled(*words: str, job: dict[str, str | None] = JOB, **more: Any) -> list[str]:
    return Template.parse(words, [*NAMES, *more]).fill(job, {**HYPERPARAMETERS, **more})


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{lr}", "0.1"),
        ("--momentum={optimizer.momentum}", "--momentum=0.9"),
        ("{hyperparameters.batch_size}", "32"),
        ("{directory}/w.{seed}", "/new/w.7"),
        ("{{lr}}", "{lr}"),
        ('{{"lr": {lr}}}', '{"lr": 0.1}'),
        ("{{print $1}}", "{print $1}"),
    ],
)
def test_placeholders_are_replaced(word: str, becomes: str) -> None:
    assert filled("run", word) == ["run", becomes]


def test_numbers_keep_their_last_bit() -> None:
    assert filled("{x}", "{y}", x=0.1 + 0.2, y=1e-7) == ["0.30000000000000004", "1e-07"]


def test_value_is_one_argument_whatever_is_in_it() -> None:
    assert filled("run", "{kind}", kind="a b; rm -rf {lr}") == ["run", "a b; rm -rf {lr}"]


def test_all_hyperparameters_are_options() -> None:
    assert filled("run", "{hyperparameters}", "-v") == ["run", *ALL, "-v"]


def test_flags_are_set_or_denied_and_null_is_left_out() -> None:
    assert options({"use_bias": True, "amp": False, "clip": None}) == ["--use-bias", "--no-amp"]


def test_flags_are_words_where_they_are_named() -> None:
    assert filled("run", "--bias={bias}", bias=True) == ["run", "--bias=true"]


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        (("--load", "{checkpoint}", "-v"), ("-v",)),
        (("--load", "{checkpoint}/w.pt", "-v"), ("-v",)),
        (("-l", "{checkpoint}"), ()),
        (("-v", "--load={checkpoint}"), ("-v",)),
        (("-v", "--load={checkpoint}/w.pt"), ("-v",)),
        (("{lr}", "{checkpoint}", "{directory}"), ("0.1", "", "/new")),
        (("{lr}", "{checkpoint}/w.pt"), ("0.1", "")),
        (("--", "{checkpoint}"), ("--", "")),
        (("-1", "{checkpoint}"), ("-1", "")),
        (("--load", "{checkpoint}", "{device}"), ("",)),
        (("--decay", "{decay}"), ()),
        (("--at", "{device}", "--load", "{checkpoint}"), ()),
        (("-c", 'if [ "{checkpoint}" ]; then'), ("-c", 'if [ "" ]; then')),
    ],
)
def test_option_goes_with_a_value_that_is_missing_and_other_arguments_stay_empty(
    words: tuple[str, ...], becomes: tuple[str, ...]
) -> None:
    assert filled("run", *words, job=FIRST) == ["run", *becomes]


def test_option_with_an_empty_text_for_its_value_stays() -> None:
    assert filled("run", "--prefix", "{prefix}", prefix="") == ["run", "--prefix", ""]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "got none"),
        (("",), "got none"),
        (("run", "{l_r}"), r"\{l_r\}.*lr, optimizer.momentum, batch_size, decay.*checkpoint"),
        (("run", "{optimizer}"), "unknown placeholder"),
        (("run", "{}"), "unknown placeholder"),
        (("awk", "{print $1}"), r"write \{\{ and \}\} for braces"),
        (("run", "{lr"), "lone '{'"),
        (("run", "lr}"), "lone '}'"),
        (("run", "--all={hyperparameters}"), "one of its own"),
    ],
)
def test_command_that_cannot_be_filled_is_refused(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Template.parse(words, NAMES)


def test_name_that_could_mean_two_things_must_be_written_in_full() -> None:
    with pytest.raises(ConfigError, match=r"\{hyperparameters.seed\}.*EVOLVENT_SEED"):
        filled("run", "{seed}", seed=3)
    assert filled("run", "{hyperparameters.seed}", seed=3) == ["run", "3"]
