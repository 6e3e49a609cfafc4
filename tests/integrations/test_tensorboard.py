"""TensorBoard: what is written is read back with TensorBoard's own readers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from tests.integrations.logged import (
    MEMBERS,
    POINTS,
    ROUNDS,
    bred_study,
    copies,
    new_study,
    own,
    train,
    url,
    write,
)
from tests.needs import needs

needs("tensorboard")

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider  # noqa: E402 - after needs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer  # noqa: E402
from tensorboard.context import RequestContext  # noqa: E402
from tensorboard.plugins.base_plugin import TBContext  # noqa: E402
from tensorboard.plugins.hparams import (  # noqa: E402
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)

RUN = "events.out.tfevents.evolvent"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def study() -> ev.Study:
    return bred_study()


@pytest.fixture(scope="module")
def logdir(study: ev.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    write(study, ev.tensorboard.Logger(directory))
    return directory


def read(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def steps(events: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in events.Scalars(tag)]


def values(events: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in events.Scalars(tag)]


def texts(events: EventAccumulator, tag: str) -> dict[int, str]:
    return {e.step: e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob(RUN)}


def test_there_is_one_run_for_every_member_and_one_for_the_study(logdir: Path) -> None:
    runs = {"." if r == "bred" else r.removeprefix("bred/") for r in _multiplexer(logdir).Runs()}
    assert runs == {".", "m0", "m1", "m2", "m3"}


@pytest.mark.parametrize("member", range(MEMBERS))
def test_metrics_and_hyperparameters_are_scalars_at_the_ends_of_rounds(
    study: ev.Study, logdir: Path, member: int
) -> None:
    events = read(logdir / f"bred/m{member}")
    done = [r for r, at in enumerate(own(study, member, lambda j: j.metrics.get("at"))) if at]
    assert steps(events, "at") == [1000 * (r + 1) for r in done]
    told = [at for at in own(study, member, lambda job: job.metrics.get("at")) if at]
    assert values(events, "at") == pytest.approx(told)
    assert steps(events, "hyperparameters/lr") == [1000 * (r + 1) for r in range(ROUNDS)]
    assert values(events, "hyperparameters/lr") == pytest.approx(
        own(study, member, lambda job: job.hyperparameters["lr"])
    )


def test_a_category_is_its_place_and_a_listed_number_itself(study: ev.Study, logdir: Path) -> None:
    events = read(logdir / "bred/m2")
    nets = own(study, 2, lambda job: job.hyperparameters["net"])
    places = [float(["relu", "tanh"].index(net["activation"])) for net in nets]
    assert values(events, "hyperparameters/net.activation") == places
    widths = [net["width"] for net in nets]
    assert values(events, "hyperparameters/net.width") == widths


def test_steps_never_go_back(logdir: Path) -> None:
    for member in range(MEMBERS):
        events = read(logdir / f"bred/m{member}")
        for tag in events.Tags()["scalars"]:
            assert steps(events, tag) == sorted(steps(events, tag)), (member, tag)


def test_points_stand_within_their_round(logdir: Path) -> None:
    assert steps(read(logdir / "bred/m0"), "loss")[: 2 * (POINTS + 1)] == [
        250, 500, 750, 1000, 1250, 1500, 1750, 2000,
    ]  # fmt: skip


def test_copies_are_marked_and_nothing_else_is(study: ev.Study, logdir: Path) -> None:
    marked = {}
    for member in range(MEMBERS):
        events = read(logdir / f"bred/m{member}")
        for event in events.Scalars("evolvent/copied_from"):
            marked[f"m{member}r{event.step // 1000 - 1}"] = int(event.value)
    assert marked == copies(study)


def test_the_age_of_the_weights_is_a_scalar_of_its_own(study: ev.Study, logdir: Path) -> None:
    ages = values(read(logdir / "bred/m3"), "evolvent/weights_age")
    assert ages == [float(len(study.lineage(f"m3r{r}"))) for r in range(ROUNDS)]


def test_a_failed_round_has_no_metric_and_a_mark(logdir: Path) -> None:
    events = read(logdir / "bred/m2")
    assert steps(events, "evolvent/failed") == [4000]
    assert 4000 not in steps(events, "at")


def test_texts_tell_who_copied_whom_and_why(study: ev.Study, logdir: Path) -> None:
    told = texts(read(logdir / "bred/m1"), "evolvent/change")
    assert told == {2000: f"**m1r1** copied **m3r0**: {study.job('m1r1').reason}"}
    whole = texts(read(logdir / "bred"), "evolvent/who_copied_whom")
    assert [line.split(":")[0] for line in "\n".join(whole.values()).splitlines()] == [
        "- **m1r1** copied **m3r0**",
        "- **m2r2** copied **m1r1**",
        "- **m0r3** copied **m1r2**",
        "- **m2r4** copied **m1r3**",
        "- **m3r5** copied **m2r4**",
    ]


def test_the_run_of_the_study_has_its_settings_and_its_best_so_far(
    study: ev.Study, logdir: Path
) -> None:
    events = read(logdir / "bred")
    assert "| population | `4` |" in texts(events, "evolvent/study")[0]
    assert steps(events, "evolvent/best") == [1000 * (r + 1) for r in range(ROUNDS)]
    assert values(events, "evolvent/best")[-1] == pytest.approx(study.result().best.value)
    assert values(events, "evolvent/copies") == [0, 1, 1, 1, 1, 1]


def test_the_hparams_tab_shows_first_and_last_hyperparameters_and_the_metric(
    study: ev.Study, logdir: Path
) -> None:
    experiment, groups = _hparams_tab(logdir)
    assert [info.name for info in experiment.hparam_infos] == [
        "lr", "net.activation", "net.width",
    ]  # fmt: skip
    assert [info.name.tag for info in experiment.metric_infos] == [
        "at", "hyperparameters/lr", "hyperparameters/net.activation", "hyperparameters/net.width",
    ]  # fmt: skip
    assert sorted(groups) == ["bred/m0", "bred/m1", "bred/m2", "bred/m3"]
    for member in range(MEMBERS):
        session, group = groups[f"bred/m{member}"]
        first, last = study.job(f"m{member}r0"), study.job(f"m{member}r{ROUNDS - 1}")
        assert group.hparams["lr"].number_value == first.hyperparameters["lr"]
        net = first.hyperparameters["net"]
        assert group.hparams["net.activation"].string_value == net["activation"]
        shown = {value.name.tag: value.value for value in session.metric_values}
        assert shown["at"] == pytest.approx(last.metrics["at"])
        assert shown["hyperparameters/lr"] == pytest.approx(last.hyperparameters["lr"])
        assert session.status == api_pb2.STATUS_SUCCESS


def test_a_round_can_be_as_long_as_the_training_steps_in_it(
    study: ev.Study, tmp_path: Path
) -> None:
    write(study, ev.tensorboard.Logger(tmp_path, steps_per_round=40))
    assert steps(read(tmp_path / "bred/m0"), "loss")[:5] == [10, 20, 30, 40, 50]


def test_by_lineage_a_copy_starts_a_run_where_its_donor_stood(
    study: ev.Study, tmp_path: Path
) -> None:
    write(study, ev.tensorboard.Logger(tmp_path, by="lineage"))
    began = {f"bred/{job}" for job in ("m0r0", "m1r0", "m2r0", "m3r0", *copies(study))}
    assert set(_multiplexer(tmp_path).Runs()) == {"bred", *began}
    assert steps(read(tmp_path / "bred/m2r2"), "evolvent/weights_age") == [3000, 4000]
    assert values(read(tmp_path / "bred/m2r2"), "evolvent/weights_age") == [3.0, 4.0]


# --- going on ----------------------------------------------------------------------------------


def test_writing_again_changes_nothing(study: ev.Study, logdir: Path) -> None:
    before = contents(logdir)
    write(study, ev.tensorboard.Logger(logdir))
    assert contents(logdir) == before
    assert len(before) == MEMBERS + 1


def test_a_study_that_is_written_bit_by_bit_ends_as_one_written_at_once(tmp_path: Path) -> None:
    study = bred_study(rounds=2)
    for rounds in (2, 5, ROUNDS):
        study.extend(rounds)
        study.run(
            train, workers=0, progress=False, loggers=[ev.tensorboard.Logger(tmp_path / "bits")]
        )
    write(study, ev.tensorboard.Logger(tmp_path / "whole"))
    assert contents(tmp_path / "bits") == contents(tmp_path / "whole")


def test_a_file_cut_anywhere_is_made_whole(study: ev.Study, logdir: Path, tmp_path: Path) -> None:
    """A writer that is killed leaves a beginning of what it was to write."""
    whole = contents(logdir)
    for name in ("bred/m2/" + RUN, "bred/" + RUN):
        size = len(whole[name])
        for length in {0, 5, 12, 30, *range(40, size, size // 15), size - 1}:
            directory = tmp_path / f"{len(name)}-{length}"
            shutil.copytree(logdir, directory)
            (directory / name).write_bytes(whole[name][:length])
            write(study, ev.tensorboard.Logger(directory))
            assert contents(directory) == whole, (name, length)
            shutil.rmtree(directory)


def test_a_run_that_is_interrupted_within_a_round_tells_its_copies_and_is_gone_on_with(
    tmp_path: Path,
) -> None:
    def interrupt(job: ev.Job) -> dict[str, float]:
        if (job.member, job.round) == (2, 2):  # which begins with a copy
            os.kill(os.getpid(), signal.SIGINT)
        return train(job)

    study, bits = new_study(), ev.tensorboard.Logger(tmp_path / "bits")
    study.run(interrupt, workers=0, progress=False, loggers=[bits])
    assert len(study.jobs("done")) == 2 * MEMBERS + 1
    told = texts(read(tmp_path / "bits/bred"), "evolvent/who_copied_whom")
    assert told[2250].startswith("- **m2r2** copied **m1r1**: ")
    study.run(train, workers=0, progress=False, loggers=[bits])
    write(study, ev.tensorboard.Logger(tmp_path / "whole"))
    assert contents(tmp_path / "bits") == contents(tmp_path / "whole")


@pytest.mark.parametrize("n_lost", [20, 100, 150, 200, 250, 300, 400])
def test_a_file_with_rubbish_at_its_end_is_made_whole(
    study: ev.Study, logdir: Path, tmp_path: Path, n_lost: int
) -> None:
    """A power cut can leave blocks of zeros."""
    shutil.copytree(logdir, tmp_path / "runs")
    file = tmp_path / "runs/bred/m1" / RUN
    file.write_bytes(file.read_bytes()[:-n_lost] + bytes(4096))
    write(study, ev.tensorboard.Logger(tmp_path / "runs"))
    assert contents(tmp_path / "runs") == contents(logdir)


KILLED = """
import os, signal, sys
from pathlib import Path
import evolvent as ev
from tests.integrations.logged import new_study, train, url

directory, kill_after = Path(sys.argv[1]), int(sys.argv[2])

class Killed(ev.tensorboard.Logger):
    n_writes = 0
    def write(self, entries):
        for entry in entries:
            super().write([entry])
            self.n_writes += 1
            if self.n_writes == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

study, logger = new_study(url(directory)), Killed(directory / "runs")
study.run(train, workers=0, progress=False, loggers=[logger])
"""


def test_a_driver_killed_between_two_writes_is_gone_on_with(tmp_path: Path) -> None:
    for kill_after in (1, 6, 15):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), str(kill_after)], cwd=ROOT, check=False
        )
        assert done.returncode == -signal.SIGKILL
    study = ev.load_study("bred", store=url(tmp_path))
    study.run(train, workers=0, progress=False, loggers=[ev.tensorboard.Logger(tmp_path / "runs")])
    write(study, ev.tensorboard.Logger(tmp_path / "whole"))
    assert contents(tmp_path / "runs") == contents(tmp_path / "whole")


def test_a_second_writer_is_told_and_the_first_is_not_disturbed(
    study: ev.Study, tmp_path: Path
) -> None:
    first = ev.tensorboard.Logger(tmp_path)
    first.open(study.status())
    with pytest.raises(ev.EvolventError, match="another process"):
        write(study, ev.tensorboard.Logger(tmp_path))
    first.close(study.status())
    write(study, ev.tensorboard.Logger(tmp_path))
    assert len(contents(tmp_path)) == MEMBERS + 1


# --- bad input ---------------------------------------------------------------------------------


def test_another_study_of_the_same_name_is_refused(logdir: Path) -> None:
    with pytest.raises(ev.ConfigError, match=r"holds a study with created_at=.*choose another"):
        write(bred_study(), ev.tensorboard.Logger(logdir))


def test_another_axis_is_refused(study: ev.Study, logdir: Path) -> None:
    with pytest.raises(ev.ConfigError, match="steps_per_round=1000, this one has"):
        write(study, ev.tensorboard.Logger(logdir, steps_per_round=1))


def test_a_directory_that_cannot_be_made_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    study = bred_study(rounds=1)
    study.extend(2)
    with pytest.raises(ev.ConfigError, match=r"directory: got '.*file"):
        study.run(
            train, workers=0, progress=False, loggers=[ev.tensorboard.Logger(tmp_path / "file")]
        )
    assert len(study.jobs("done")) == MEMBERS


def test_without_tensorboard_the_extra_is_named() -> None:
    code = "import sys; sys.modules['tensorboard'] = None; import evolvent; evolvent.tensorboard"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "MissingExtra: ev.tensorboard needs TensorBoard: pip install 'evolvent[tensorboard]'"
        in (done.stderr)
    )


def _multiplexer(logdir: Path) -> EventMultiplexer:
    found = EventMultiplexer()
    found.AddRunsFromDirectory(str(logdir))
    found.Reload()
    return found


def _hparams_tab(logdir: Path) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """Return the experiment, and by run the session with its group, as the tab asks for them."""
    provider = MultiplexerDataProvider(_multiplexer(logdir), str(logdir))
    plugin = backend_context.Context(TBContext(data_provider=provider, logdir=str(logdir)))
    asked = (RequestContext(), plugin, "")
    experiment = get_experiment.Handler(*asked, api_pb2.GetExperimentRequest()).run()
    statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN]
    wanted = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=100)
    found = list_session_groups.Handler(*asked, wanted).run()
    sessions = {s.name: (s, group) for group in found.session_groups for s in group.sessions}
    return experiment, sessions
