"""Schedules: segments that add up, files that give back every bit, other lengths, a space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evolvent as ev
from evolvent.analysis.schedule.schedule import Schedule
from evolvent.analysis.schedule.segments import Segment
from evolvent.core.records import JobRecord, JobState

Pieces = list[tuple[int, dict[str, Any]]]


def schedule(*pieces: tuple[int, float], unit: Any = "rounds") -> Schedule:
    return Schedule.piecewise([(length, {"lr": lr}) for length, lr in pieces], unit=unit)


def lengths(schedule: Schedule) -> list[int]:
    return [segment.length for segment in schedule.segments]


def job(member: int, round: int, **hyperparameters: Any) -> JobRecord:
    return JobRecord(member, round, JobState.DONE, hyperparameters)


def test_equal_neighbours_of_a_lineage_are_one_segment_also_across_a_copy():
    lineage = [job(3, 0, lr=0.1), job(3, 1, lr=0.1), job(1, 2, lr=0.1), job(1, 3, lr=0.2)]
    assert Schedule.of(lineage).segments == (
        Segment(0, 3, {"lr": 0.1}, None),
        Segment(3, 1, {"lr": 0.2}, 1),
    )


def test_a_segment_that_two_members_trained_names_neither():
    made = Schedule.of([job(3, 0, lr=0.1), job(1, 1, lr=0.1), job(3, 2, lr=0.1), job(3, 3, lr=0.5)])
    assert [s.member for s in made.segments] == [None, 3]
    assert str(made).splitlines()[1].split() == ["0-2", "0.1", "several"]
    assert made.to_csv().splitlines()[1] == "0,3,,0.1"
    assert Schedule.from_json(made.to_json()) == made


def test_a_segment_of_two_members_goes_to_ray_and_comes_back(tmp_path: Path):
    made = Schedule.of([job(3, 0, lr=0.1), job(1, 1, lr=0.1), job(3, 2, lr=0.5), job(3, 3, lr=0.2)])
    made.to_ray(tmp_path / "pbt_policy_0.txt")
    assert Schedule.from_ray(tmp_path / "pbt_policy_0.txt") == made


def test_each_round_has_the_values_of_its_segment():
    two = schedule((3, 0.1), (2, 0.2))
    assert [two.at(t)["lr"] for t in range(5)] == [0.1, 0.1, 0.1, 0.2, 0.2]
    assert (two.rounds, two.total) == (5, 5)


@pytest.mark.parametrize("time", [-1, 5])
def test_there_is_nothing_before_and_after(time: int):
    with pytest.raises(IndexError, match=f"round {time}: the schedule has rounds 0 to 4"):
        schedule((3, 0.1), (2, 0.2)).at(time)


@pytest.mark.parametrize(
    ("segments", "complaint"),
    [
        ([], "got no segment"),
        ([Segment(1, 2, {})], "segment 0: start: got 1, wanted 0"),
        ([Segment(0, 2, {}), Segment(3, 1, {})], "segment 1: start: got 3, wanted 2"),
        ([Segment(0, 2, {}), Segment(1, 1, {})], "segment 1: start: got 1, wanted 2"),
        ([Segment(0, 0, {})], "segment 0: length: got 0"),
        ([Segment(0, 1.5, {})], r"segment 0: length: got 1\.5"),  # type: ignore[arg-type]
        ([Segment(0, 1, 3)], "segment 0: hyperparameters: got 3"),  # type: ignore[arg-type]
    ],
)
def test_segments_that_do_not_follow_each_other_are_refused(segments: Any, complaint: str):
    with pytest.raises(ev.ConfigError, match=complaint):
        Schedule(tuple(segments))


def test_an_unknown_unit_is_refused():
    with pytest.raises(ev.ConfigError, match="got 'epochs', wanted 'rounds' or 'steps'"):
        schedule((1, 0.1), unit="epochs")


def test_a_table_shows_rounds_values_and_members():
    lineage = [job(3, 0, lr=0.1, opt={"name": "adam"}), job(1, 1, lr=0.25, opt={"name": "sgd"})]
    assert str(Schedule.of([lineage[0], *lineage])).splitlines() == [
        "rounds    lr  opt.name  member",
        "   0-1   0.1      adam       3",
        "     2  0.25       sgd       1",
    ]


def test_a_schedule_of_no_member_shows_none():
    assert str(schedule((2, 0.5), unit="steps")).splitlines() == ["steps   lr", "  0-1  0.5"]


def test_the_last_hyperparameters_only():
    assert schedule((3, 0.1), (2, 0.2)).last == schedule((5, 0.2))


def test_only_some_hyperparameters_join_segments_that_no_longer_differ():
    both = Schedule.piecewise([(1, {"a": 1, "b": {"c": 1}}), (1, {"a": 2, "b": {"c": 1}})])
    assert both.only("b.c") == Schedule.piecewise([(2, {"b": {"c": 1}})])
    with pytest.raises(
        ev.ConfigError, match=r"segment 0 \(rounds 0\): no hyperparameter 'd', there are a, b\.c"
    ):
        both.only("d")


@pytest.mark.parametrize(
    ("total", "wanted"),
    [(20, [4, 6, 10]), (10, [2, 3, 5]), (5, [1, 2, 2]), (4, [1, 1, 2]), (3, [1, 1, 1])],
)
def test_another_length_keeps_the_proportions(total: int, wanted: list[int]):
    other = schedule((2, 0.1), (3, 0.2), (5, 0.3)).rescaled(total)
    assert lengths(other) == wanted
    assert [s.hyperparameters["lr"] for s in other.segments] == [0.1, 0.2, 0.3]


def test_with_fewer_rounds_than_segments_the_shortest_are_left_out_and_it_says_so():
    four = schedule((1, 0.1), (4, 0.2), (1, 0.3), (6, 0.4))
    with pytest.warns(
        UserWarning, match="4 segments do not fit into 2 rounds: only the 2 longest are kept"
    ):
        assert four.rescaled(2) == schedule((1, 0.2), (1, 0.4))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(0, 3000))
def test_any_other_length_adds_up_and_loses_no_segment(old: list[int], more: int):
    total = len(old) + more
    new = schedule(*((length, float(i)) for i, length in enumerate(old))).rescaled(total)
    assert new.total == total
    assert len(new.segments) == len(old)
    off = [
        abs(a.end / total - b / sum(old))
        for a, b in zip(new.segments, (sum(old[: i + 1]) for i in range(len(old))), strict=True)
    ]
    assert max(off) <= len(old) / total


def test_rounds_become_steps():
    steps = schedule((2, 0.1), (1, 0.2)).in_steps(100)
    assert steps == schedule((200, 0.1), (100, 0.2), unit="steps")
    assert steps.rescaled(6).unit == "steps"


def test_steps_are_no_rounds():
    steps = schedule((2, 0.1), unit="steps")
    with pytest.raises(ev.ConfigError, match="counts steps, not rounds"):
        steps.in_steps(2)


def test_a_schedule_takes_the_types_of_the_space_it_fits():
    space = {"lr": ev.LogUniform(1e-4, 1.0), "net": {"size": ev.IntUniform(1, 8)}}
    given_ = Schedule.piecewise([(2, {"lr": 1, "net.size": 4})])
    fitted = given_.check(space).at(0)
    assert fitted == {"lr": 1.0, "net": {"size": 4}}
    assert isinstance(fitted["lr"], float)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"lr": 3.0}, r"segment 1 \(rounds 2-4\): hyperparameter lr: got 3\.0, wanted"),
        ({}, r"segment 1 \(rounds 2-4\): hyperparameter lr: missing"),
        ({"lr": 0.1, "rl": 1}, r"segment 1 \(rounds 2-4\): hyperparameter rl: not in the space"),
    ],
)
def test_a_schedule_that_does_not_fit_the_space_says_where(values: dict[str, Any], complaint: str):
    bad = Schedule.piecewise([(2, {"lr": 0.1}), (3, values)])
    with pytest.raises(ev.ConfigError, match=complaint):
        bad.check({"lr": ev.Uniform(0.0, 1.0)})


# files

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(["1", "true", "null", "NaN", "-Infinity", " x", "", '"', '"a"', "1e5", "[1]"]),
)
GROUPS = st.fixed_dictionaries({"a": VALUES, "b": st.fixed_dictionaries({"c": VALUES})})


def types(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: types(value) for name, value in values.items()}
    return type(values), repr(values)


def segments_with_types(schedule: Schedule) -> list[Any]:
    return [(s.start, s.length, s.member, types(s.hyperparameters)) for s in schedule.segments]


@given(
    st.lists(st.tuples(st.integers(1, 10**6), GROUPS, st.none() | st.integers(0, 99)), min_size=1),
    st.sampled_from(["rounds", "steps"]),
)
def test_files_give_back_every_value_with_its_type_and_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, pieces: Any, unit: Any
):
    starts = [sum(length for length, _, _ in pieces[:i]) for i in range(len(pieces))]
    written = Schedule(
        tuple(
            Segment(start, length, values, member)
            for start, (length, values, member) in zip(starts, pieces, strict=True)
        ),
        unit,
    )
    directory = tmp_path_factory.getbasetemp()
    for name in ("schedule.json", "schedule.csv"):
        written.save(directory / name)
        read = Schedule.load(directory / name)
        assert read.unit == unit
        assert segments_with_types(read) == segments_with_types(written)
    assert segments_with_types(Schedule.from_json(written.to_json())) == segments_with_types(
        written
    )


def test_a_csv_is_one_that_people_read(tmp_path: Path):
    Schedule.piecewise(
        [(2, {"lr": 0.1, "opt": {"name": "adam"}}), (1, {"lr": 1e-5, "opt": {"name": None}})]
    ).save(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == (
        "start,rounds,member,lr,opt.name\n0,2,,0.1,adam\n2,1,,1e-05,null\n"
    )


def test_a_hyperparameter_may_be_missing_in_a_segment(tmp_path: Path):
    pieces: Pieces = [(1, {"a": 1}), (1, {"b": ""})]
    Schedule.piecewise(pieces).save(tmp_path / "s.csv")
    assert Schedule.load(tmp_path / "s.csv") == Schedule.piecewise(pieces)


@pytest.mark.parametrize("values", [{"a.b": 1}, {"a": {}}])
def test_what_a_csv_cannot_tell_is_refused(tmp_path: Path, values: Any):
    with pytest.raises(ev.ConfigError, match=r"save as \.json"):
        Schedule.piecewise([(1, values)]).save(tmp_path / "s.csv")
    assert list(tmp_path.iterdir()) == []


def test_json_says_what_it_is(tmp_path: Path):
    data = json.loads(schedule((2, 0.1)).to_json())
    assert data == {
        "format": "evolvent schedule", "version": 1, "unit": "rounds", "total": 2,
        "segments": [{"start": 0, "length": 2, "member": None, "hyperparameters": {"lr": 0.1}}],
    }  # fmt: skip


def document(**changes: Any) -> str:
    return json.dumps(json.loads(schedule((2, 0.1), (1, 0.2)).to_json()) | changes)


SEGMENT = {"start": 0, "length": 3, "member": None, "hyperparameters": {}}


@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: no JSON"),
        ('{"format": \n !', "line 2: no JSON"),
        ("[" * 100_000, "no JSON that can be read"),
        ("9" * 5000, "no JSON that can be read"),
        ("[]", r"schedule: got \[\], wanted an object with format, version"),
        ("{}", "schedule: lacks the field 'format'"),
        (document(format="study"), "format: got 'study', wanted 'evolvent schedule'"),
        (document(version=2), "version: got 2, wanted 1: a newer evolvent wrote this"),
        (document(version="1"), "version: got '1'"),
        (document(unit="epochs"), "unit: got 'epochs'"),
        (document(unit=None), "unit: got None"),
        (document(total=4), "total: got 4, but the segments add up to 3"),
        (document(segments={}), r"segments: got \{\}, wanted a list"),
        (document(segments=[3]), "segment 0: got 3, wanted an object"),
        (document(segments=[SEGMENT | {"length": 0}]), "segment 0: length: got 0"),
        (document(segments=[SEGMENT | {"length": True}]), "segment 0: length: got True"),
        (document(segments=[SEGMENT | {"start": 1}]), "segment 0: start: got 1, wanted 0"),
        (document(segments=[SEGMENT | {"member": "m2"}]), "segment 0: member: got 'm2'"),
        (
            document(segments=[SEGMENT | {"hyperparameters": 1}]),
            "segment 0: hyperparameters: got 1",
        ),
        (document().replace("0.1", "NaN"), "got NaN, wanted a finite number"),
        (document().replace('"lr": 0.1', '"lr": 1, "lr": 2'), "'lr' is given twice"),
    ],
)
def test_broken_json_is_refused_and_the_error_names_file_and_field(
    tmp_path: Path, text: str, complaint: str
):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ev.ConfigError, match=complaint) as caught:
        Schedule.load(tmp_path / "s.json")
    assert str(caught.value).startswith(str(tmp_path / "s.json"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: got '', wanted titles"),
        ("start;rounds;member;lr\n", "line 1: got 'start;rounds"),
        ("start,epochs,member,lr\n0,1,,1\n", "line 1: got 'start,epochs"),
        ("start,rounds,member,lr\n", "got no segment"),
        ("start,rounds,member,lr\n0,2,,0.1,7\n", "line 2: got 5 cells, wanted 4"),
        ("start,rounds,member,lr\n\n0,2,,0.1\n3,1,,0.2\n", "segment 1: start: got 3, wanted 2"),
        ("start,rounds,member,lr\nx,2,,0.1\n", "line 2: start: got 'x', wanted a whole number"),
        ("start,rounds,member,lr\n0,-2,,0.1\n", "line 2: rounds: got '-2'"),
        ("start,rounds,member,lr\n0,9999999999999999999,,0.1\n", "line 2: rounds: got '9999"),
        ("start,rounds,member,lr\n0,2,m1,0.1\n", "line 2: member: got 'm1'"),
        ("start,rounds,member,lr\n0,2,,NaN\n", "line 2: lr: got NaN, wanted a finite number"),
        ("start,rounds,member,lr,lr\n0,2,,1,1\n", "line 1: 'lr' is given twice"),
        ("start,rounds,member,\n0,2,,1\n", "line 1: got the name '' in column 4"),
        ("start,rounds,member,a,a.b\n0,2,,1,1\n", "'a' is a hyperparameter and a group with 'a.b'"),
        ('start,rounds,member,lr\n0,2,,"0.1\n', "line 2: no CSV"),
        ("start,rounds,member,lr\n0,2,," + "1" * 200_000, "line 2: no CSV"),
    ],
)
def test_broken_csv_is_refused_and_the_error_names_line_and_field(
    tmp_path: Path, text: str, complaint: str
):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ev.ConfigError, match=complaint):
        Schedule.load(tmp_path / "s.csv")


def test_a_csv_that_a_spreadsheet_saved_is_read(tmp_path: Path):
    text = "\ufeffstart,rounds,member,lr\r\n0,2,,0.1\r\n"
    (tmp_path / "s.csv").write_bytes(text.encode())
    assert Schedule.load(tmp_path / "s.csv") == schedule((2, 0.1))


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ev.ConfigError, match=r"bytes\.json: byte 0 is no UTF-8"):
        Schedule.load(tmp_path / "bytes.json")
    with pytest.raises(ev.ConfigError, match=r"cannot read .*none\.csv: No such file"):
        Schedule.load(tmp_path / "none.csv")
    with pytest.raises(ev.ConfigError, match=r"cannot write .*s\.json: No such file"):
        schedule((1, 0.1)).save(tmp_path / "none" / "s.json")
    with pytest.raises(ev.ConfigError, match=r"a name that ends in \.json or \.csv"):
        schedule((1, 0.1)).save(tmp_path / "s.yaml")


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_a_value_that_no_file_holds_leaves_the_file_as_it_was(tmp_path: Path, value: Any):
    schedule((1, 0.1)).save(tmp_path / "s.json")
    with pytest.raises(ev.ConfigError, match="such a value cannot be written"):
        Schedule.piecewise([(1, {"lr": value})]).save(tmp_path / "s.json")
    assert Schedule.load(tmp_path / "s.json") == schedule((1, 0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
