"""`check_trainable` passes sound training code and finds each fault that breaks a study."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import pickle
import shutil
import sys
import time
import types
import zipfile

import numpy as np
import pytest

import evolvent as ev
from evolvent.errors import ConfigError
from evolvent.testing.check import check_trainable
from evolvent.testing.check_report import Verdict

SETS = ({"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.5})
SPACE = {"lr": ev.LogUniform(1e-3, 0.1), "momentum": ev.Uniform(0.1, 0.9)}


class Sound(ev.Trainable):
    """Gradient descent with momentum on a noisy quadratic, in NumPy."""

    def setup(self, hyperparameters, context):
        self.theta = np.random.default_rng(context.seed).normal(size=3)
        self.velocity = np.zeros(3)
        self.settings = {}

    def apply(self, hyperparameters):
        self.settings = dict(hyperparameters)

    def train(self):
        rng = np.random.default_rng(self.job.seed)
        for _ in range(3):
            gradient = self.theta + 0.1 * rng.normal(size=3)
            self.velocity = self.settings["momentum"] * self.velocity + gradient
            self.theta = self.theta - self.settings["lr"] * self.velocity
        return {"loss": float(self.theta @ self.theta)}

    def state(self):
        return {"theta": self.theta, "velocity": self.velocity}

    def save(self, directory):
        state = {name: np.asarray(value).tolist() for name, value in self.state().items()}
        (directory / "state.json").write_text(json.dumps(state))

    def load(self, directory):
        for name, value in json.loads((directory / "state.json").read_text()).items():
            setattr(self, name, np.array(value) if isinstance(value, list) else value)


def failed(report) -> list[str]:
    return [proof.name for proof in report.failed]


def test_sound_code_passes_with_a_line_for_every_proof():
    report = check_trainable(Sound, SETS, metric="loss")
    assert report.ok
    assert [p.name for p in report.proofs] == [
        "contract", "repeats", "goes on", "lr", "momentum", "goes on with b", "changes alive",
        "moves", "in turns", "checkpoints",
    ]  # fmt: skip
    assert {p.verdict for p in report.proofs if p.name != "moves"} == {Verdict.OK}
    assert "lr: 0.1 -> 0.01 in round 0: loss " in str(report)
    assert str(report).endswith("10 proofs, none failed")


def test_two_sets_of_values_are_drawn_from_a_space():
    report = check_trainable(Sound, SPACE)
    assert report.ok
    assert report.first["lr"] < report.second["lr"] / 2
    assert all(SPACE[name].contains(value) for name, value in report.first.items())
    assert report == check_trainable(Sound, SPACE)


def test_proofs_are_told_as_they_come():
    told = []
    report = check_trainable(Sound, SETS, on_proof=told.append)
    assert tuple(told) == report.proofs


class OldRateComesBack(Sound):
    """The classic fault: the saved settings win over the applied ones after a load."""

    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.settings = dict(hyperparameters)

    def apply(self, hyperparameters):
        self.settings["momentum"] = hyperparameters["momentum"]

    def state(self):
        return super().state() | {"lr": self.settings["lr"]}

    def load(self, directory):
        super().load(directory)
        self.settings["lr"] = self.lr


def test_a_loaded_state_that_brings_the_old_value_back_is_found():
    report = check_trainable(OldRateComesBack, SETS)
    assert failed(report) == ["lr"]
    assert "in force in round 0, but not after a load" in report["lr"].seen
    assert "set 'lr' again after every load" in report["lr"].advice


class SavesNoVelocity(Sound):
    def state(self):
        return {"theta": self.theta}


def test_a_save_that_forgets_the_optimizer_is_found():
    report = check_trainable(SavesNoVelocity, SETS)
    assert failed(report) == ["goes on"]
    assert "save() must write everything" in report["goes on"].advice


class SavesNoGenerator(Sound):
    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.rng = np.random.default_rng(context.seed)

    def train(self):
        self.theta = self.theta + self.rng.normal(size=3)
        return super().train()


def test_a_save_that_forgets_a_random_generator_is_found():
    assert "goes on" in failed(check_trainable(SavesNoGenerator, SETS))


NOISY = tuple(values | {"noise": i} for i, values in enumerate(SETS))


class ReadsByName(Sound):
    """Names what it reads, so that it is known what it does not."""

    def apply(self, hyperparameters):
        self.settings = {name: hyperparameters[name] for name in ("lr", "momentum")}


def by_name(job: ev.Job):
    trained = Sound()
    trained.job = job
    trained.setup({}, ev.Context(study="", member=0, seed=job.seed))
    if job.checkpoint is not None:
        trained.load(job.checkpoint)
    trained.settings = {"lr": job.hyperparameters["lr"], "momentum": 0.5 * momentum_later(job)}
    metrics = trained.train()
    trained.save(job.directory)
    return metrics


def momentum_later(job):
    return 0 if job.round < 50 else job.hyperparameters["momentum"]


@pytest.mark.parametrize("optax", [False, True])
@pytest.mark.parametrize("form", ["class", "function"])
def test_a_hyperparameter_that_nothing_has_a_name_for_is_ignored(form, optax, monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", types.ModuleType("optax"))  # then variables are read
    if not optax:
        monkeypatch.delitem(sys.modules, "optax")
    sets = NOISY if form == "class" else [values | {"momentum": 0.5} for values in NOISY]
    report = check_trainable(ReadsByName if form == "class" else by_name, sets)
    assert failed(report) == ["noise"]
    assert report["noise"].seen.endswith("no effect at all: training ignores it")
    of = "" if form == "class" else "job."
    assert report["noise"].advice == f"does training read {of}hyperparameters['noise']?"


def paced(job: ev.Job, *, pace: float):
    return by_name(job) | {"pace of training": pace}


def misspelled(job: ev.Job):
    return paced(job, pace=job.hyperparameters.get("tempo", 0.1))


def test_an_argument_of_the_same_name_is_no_hyperparameter_that_is_read():
    sets = [values | {"pace": i} for i, values in enumerate(SETS)]
    report = check_trainable(misspelled, sets, metric="loss", only="pace")
    assert report["pace"].seen.endswith("no effect at all: training ignores it")


class IgnoresMomentum(Sound):
    def apply(self, hyperparameters):
        self.settings = dict(hyperparameters) | {"momentum": 0.5}


def strict(job: ev.Job):
    assert type(job.hyperparameters) is dict  # as YAML, JAX and a safe `torch.load` want it
    return sound(job)


def test_training_gets_a_plain_dict_as_in_a_study():
    assert check_trainable(strict, SETS).ok
    report = check_trainable(strict, tuple(values | {"other": i} for i, values in enumerate(SETS)))
    assert report.ok
    assert "not seen to act" in report["other"].seen


class OnlySavesMomentum(IgnoresMomentum):
    def state(self):
        # a saved copy of the value is not an effect
        return super().state() | {"seen": self.job.hyperparameters["momentum"]}


class ActsLater(Sound):
    """Reads the momentum from the first round on; it is in force after a warm-up."""

    def train(self):
        if self.job.round < 50:
            self.settings = self.settings | {"momentum": 0.0}
        return super().train()


@pytest.mark.parametrize("trainable", [OnlySavesMomentum, ActsLater, by_name])
def test_what_is_read_and_not_seen_to_act_may_act_later(trainable):
    report = check_trainable(trainable, SPACE)
    assert report.ok
    assert report["momentum"].verdict is Verdict.NOTE
    assert report["momentum"].seen.startswith("not seen to act within 2 rounds")


class Clipped(Sound):
    """Its objective is at its limit, whatever happens, and its files differ from run to run."""

    def train(self):
        super().train()
        return {"accuracy": min(1.0, 5.0 + float(self.theta @ self.theta))}


class ClippedAndTimed(Clipped):
    def state(self):
        return {"when": str(time.perf_counter_ns())}

    def load(self, directory):
        pass


class StandsStill(Sound):
    """Obeys in round 0; then it has converged, to the last bit."""

    def train(self):
        if self.job.round > 0:
            return {"loss": 0.0}
        return super().train()


def test_metrics_at_their_limit_prove_nothing_wrong():
    report = check_trainable(Clipped, SETS, metric="accuracy")
    assert report.ok
    assert report["lr"].verdict is Verdict.OK  # the weights tell
    report = check_trainable(ClippedAndTimed, SETS, metric="accuracy", only=["lr", "momentum"])
    assert report.ok
    assert "not seen to act" in report["lr"].seen


def test_where_nothing_moves_after_a_load_no_value_is_said_to_have_come_back():
    report = check_trainable(StandsStill, SETS, metric="loss", only=["lr", "momentum"])
    assert report.ok
    assert {report[name].verdict for name in SPACE} == {Verdict.NOTE}


class OnlySetsUp(Sound):
    """Takes the learning rate in `setup` only: a live model keeps the old one."""

    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.settings = dict(hyperparameters)

    def apply(self, hyperparameters):
        self.settings["momentum"] = hyperparameters["momentum"]


def test_a_live_model_that_changes_otherwise_than_a_loaded_one_is_found():
    report = check_trainable(OnlySetsUp, SETS)
    assert failed(report) == ["changes alive"]
    assert "a live model and a loaded one must end up the same" in report["changes alive"].advice


class Unseeded(Sound):
    counter = itertools.count()

    def train(self):
        self.theta = self.theta + next(self.counter)
        return super().train()


def test_rounds_that_do_not_repeat_are_found_and_the_rest_is_not_guessed():
    report = check_trainable(Unseeded, SETS, metric="loss")
    assert failed(report) == ["repeats"]
    assert "seeded with job.seed" in report["repeats"].advice
    assert "not tried" in report["the rest"].seen


class SavesTheTime(Sound):
    def save(self, directory):
        super().save(directory)
        (directory / "when").write_text(str(time.perf_counter_ns()))


class SavesZips(Sound):
    """As many libraries do: an archive with times in it, beside a file of settings with one."""

    def save(self, directory):
        state = {name: np.asarray(value) for name, value in self.state().items()}
        np.savez_compressed(directory / "state.npz", **state)
        at = time.localtime(315532800 + 2 * next(Unseeded.counter))
        with zipfile.ZipFile(directory / "model.zip", "w") as archive:
            for name, value in state.items():
                archive.writestr(zipfile.ZipInfo(name, at[:6]), pickle.dumps({"value": value}))
        (directory / "args.json").write_text(json.dumps({"begun": time.perf_counter_ns()}))

    def load(self, directory):
        with zipfile.ZipFile(directory / "model.zip") as archive:
            for name in archive.namelist():
                setattr(self, name, pickle.loads(archive.read(name))["value"])


@pytest.mark.parametrize(
    ("trainable", "named"), [(SavesTheTime, "when"), (SavesZips, "args.json:begun")]
)
def test_times_in_files_are_named_and_the_rest_is_compared_by_value(trainable, named):
    report = check_trainable(trainable, SETS)
    assert report.ok
    assert report["repeats"].seen.endswith(f"differs from run to run: {named}")
    assert report["goes on"].verdict is report["lr"].verdict is Verdict.OK


class NumbersItsObjects(Sound):
    """As Keras does: beside the weights it saves how many objects the process has made."""

    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.number = 1

    def state(self):
        return super().state() | {"number": self.number}

    def load(self, directory):
        super().load(directory)
        self.number = 2


def test_what_differs_beside_the_same_arrays_is_a_note():
    report = check_trainable(NumbersItsObjects, SETS)
    assert report.ok
    assert report["goes on"].verdict is Verdict.NOTE
    assert report["goes on"].seen.endswith("not the same: state.json:number")


class SaysWhen(ev.Trainable):
    """Saves one number, and the time, which is another later than when equal runs are compared."""

    minutes = iter([10] * 7 + [11] * 1000)

    def setup(self, hyperparameters, context):
        self.height = 0.0

    def apply(self, hyperparameters):
        self.step = hyperparameters["step"]

    def train(self):
        self.height += self.step
        return {"height": self.height}

    def save(self, directory):
        today = datetime.datetime.now(datetime.UTC).date()
        state = {"at": f"12:{next(self.minutes)}", "day": today, "height": self.height}
        (directory / "state.pickle").write_bytes(pickle.dumps(state))

    def load(self, directory):
        self.height = pickle.loads((directory / "state.pickle").read_bytes())["height"]


def test_a_time_that_differs_later_only_is_no_state():
    assert check_trainable(SaysWhen, ({"step": 1.0}, {"step": 2.0})).ok


class SavesNoise(Sound):
    def save(self, directory):
        super().save(directory)
        np.save(directory / "noise.npy", np.random.default_rng().normal(size=2))


class KeepsTimes(Sound):
    """Run times of all rounds so far, as a list and one by one, beside the state."""

    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.took, self.rounds = [], []

    def train(self):
        self.took = [*self.took, time.perf_counter()]
        self.rounds = [*self.rounds, {"at": time.perf_counter(), "kind": "train"}]
        return super().train()

    def state(self):
        return super().state() | {"took": self.took, "rounds": self.rounds}


class KeepsTimesOfTensors(KeepsTimes):
    """With a metric that is at its limit: that tensors go on alike shows as much."""

    def train(self):
        super().train()
        return {"loss": 1.0}

    def state(self):
        return super().state() | {"theta": np.asarray(self.theta)}

    def save(self, directory):
        (directory / "state.pkl").write_bytes(pickle.dumps(self.state()))

    def load(self, directory):
        vars(self).update(pickle.loads((directory / "state.pkl").read_bytes()))


@pytest.mark.parametrize(
    ("trainable", "file"), [(KeepsTimes, "state.json"), (KeepsTimesOfTensors, "state.pkl")]
)
@pytest.mark.parametrize("rounds", [1, 2])
def test_run_times_in_a_list_are_a_note(trainable, file, rounds):
    report = check_trainable(trainable, SETS, rounds=rounds)
    assert report.ok
    assert report["repeats"].verdict is Verdict.NOTE
    assert report["repeats"].seen.endswith(f"to run: {file}:rounds:at, {file}:took")
    assert report["lr"].verdict is report["goes on"].verdict is Verdict.OK


class DrawsWeights(Sound):
    """What it loads, a list of weights, is not the same twice."""

    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.weights = list(np.random.default_rng().normal(size=3))

    def state(self):
        return super().state() | {"weights": self.weights}

    def train(self):
        return super().train() | {"loss": sum(self.weights)}


def test_a_list_of_weights_that_does_not_repeat_is_a_fault():
    report = check_trainable(DrawsWeights, SETS, metric="loss")
    assert failed(report) == ["repeats"]


def test_arrays_that_do_not_repeat_are_a_fault():
    report = check_trainable(SavesNoise, SETS)
    assert failed(report) == ["repeats"]
    assert report["repeats"].seen.endswith("not the same: noise.npy")


class TellsTheTime(Sound):
    def train(self):
        return {**super().train(), "seconds": time.perf_counter()}


def test_a_clock_among_the_metrics_is_left_out_of_the_comparison():
    report = check_trainable(TellsTheTime, SETS, metric="loss")
    assert report.ok
    assert report["repeats"].seen.endswith("differs from run to run: seconds")
    assert report["repeats"].verdict is Verdict.NOTE


class Sized(Sound):
    """Its weights have a shape that a hyperparameter decides."""

    def setup(self, hyperparameters, context):
        super().setup(hyperparameters, context)
        self.size = hyperparameters["size"]
        self.weights = np.ones(self.size)

    def train(self):
        self.weights = self.weights * 0.9
        metrics = super().train()
        return {"loss": metrics["loss"] + float(self.weights.sum())}

    def state(self):
        return super().state() | {"weights": self.weights}

    def load(self, directory):
        super().load(directory)
        if len(self.weights) != self.size:
            raise ValueError(f"{len(self.weights)} weights do not fit into {self.size}")


def test_a_hyperparameter_that_shapes_the_model_is_called_static():
    a, b = ({**values, "size": size} for values, size in zip(SETS, (2, 4), strict=True))
    report = check_trainable(Sized, (a, b))
    assert report.ok
    assert report["size"].verdict is Verdict.NOTE
    assert "2 weights do not fit into 4 (test_check.py:" in report["size"].seen
    assert "leave it without an explore strategy" in report["size"].advice


class Deep(Sized):
    """It says what does not fit as PyTorch does: of every layer, at length."""

    def load(self, directory):
        shapes = "torch.Size([4096, 1024]) from checkpoint, the shape in current model is "
        lines = [
            f"size mismatch for encoder.layers.{i}.self_attention.in_proj_weight: copying a param "
            f"with shape {shapes}torch.Size([4096, 2048])."
            for i in range(40)
        ]
        try:
            super().load(directory)
        except ValueError:
            told = "\n\t".join(["Error(s) in loading state_dict for Transformer:", *lines])
            raise RuntimeError(told) from None


def test_a_long_message_is_told_as_far_as_the_first_shapes():
    a, b = ({**values, "size": size} for values, size in zip(SETS, (2, 4), strict=True))
    seen = check_trainable(Deep, (a, b))["size"].seen
    assert "encoder.layers.0.self_attention.in_proj_weight" in seen
    assert "torch.Size([4096, 1024])" in seen
    assert "torch.Size([4096, 2048])" in seen
    assert len(seen) < 800
    assert " … (test_check.py:" in seen


SIZED = SPACE | {"size": ev.Choice([2, 4]), "momentum": 0.5}
NAMED = {"lr": ev.Perturb(), "size": ev.Resample(0.1)}


@pytest.mark.parametrize(
    ("explore", "advice"),
    [
        ([ev.Perturb(), ev.Resample(0.1, choices=True)], 'explore={"lr": …}'),
        (NAMED, 'explore={"lr": …}'),
        ({"size": ev.Resample()}, "explore=NoExplore()"),
        (ev.CustomExplore("tests.testing.test_check:resize"), "explore=NoExplore()"),
    ],
)
def test_a_hyperparameter_that_shapes_the_model_must_not_be_explored(explore, advice):
    report = check_trainable(Sized, SIZED, algorithm=ev.PBT(explore=explore))
    assert failed(report) == ["size"]
    assert "weights do not fit into" in report["size"].seen
    assert report["size"].advice == (
        "if it shapes the model, leave it out of explore, and it stays with the weights: " + advice
    )


def test_advice_for_a_study_file_is_written_as_its_text():
    algorithm = ev.PBT(explore=[ev.Perturb(), ev.Resample(0.1, choices=True)])
    report = check_trainable(Sized, SIZED, algorithm=algorithm, toml=True)
    assert report["size"].advice.endswith(': explore = {"lr" = …}')
    report = check_trainable(
        Sized, SIZED, algorithm=ev.PBT(explore={"size": ev.Resample()}), toml=True
    )
    assert report["size"].advice.endswith(': explore = "NoExplore"')


def resize(hyperparameters, rng):
    return {"size": 4 if hyperparameters["size"] == 2 else 2}


@pytest.mark.parametrize(
    "algorithm",
    [ev.PBT(), ev.PBT(explore={"lr": ev.Perturb()}), ev.RandomSearch(), ev.PBT(ev.NoExploit())],
)
def test_what_shapes_the_model_and_stays_with_the_weights_is_fine(algorithm):
    report = check_trainable(Sized, SIZED, algorithm=algorithm)
    assert report.ok
    assert report["size"].verdict is Verdict.NOTE
    assert "never changes it" in report["size"].advice


@pytest.mark.parametrize("copies", ["weights", "hyperparameters"])
def test_values_of_ones_own_meet_the_weights_of_another_without_exploring(copies):
    explore = {"lr": ev.NoExplore(), "size": ev.NoExplore()}
    algorithm = ev.PBT(explore=explore, copies=copies)
    assert failed(check_trainable(Sized, SIZED, algorithm=algorithm)) == ["size"]


class KeepsItsSize(Sized):
    """Goes on with the size that was saved, whatever the hyperparameter says."""

    def load(self, directory):
        Sound.load(self, directory)
        self.size = len(self.weights)


@pytest.mark.parametrize(("explore", "faults"), [(ev.Perturb(), []), (NAMED, ["size"])])
def test_what_only_a_fresh_model_obeys_must_not_be_explored(explore, faults):
    report = check_trainable(KeepsItsSize, SIZED, algorithm=ev.PBT(explore=explore))
    assert failed(report)[:1] == faults


def test_what_a_study_explores_is_found_out_with_a_space_only():
    with pytest.raises(ConfigError, match="algorithm: of use with a space only"):
        check_trainable(Sound, SETS, algorithm=ev.PBT())
    with pytest.raises(ConfigError, match="explore: 'lrr' is not in the space"):
        check_trainable(Sound, SPACE, algorithm=ev.PBT(explore={"lrr": ev.Perturb()}))


class Grows(Sized):
    """Takes over fewer weights than it has, but not more."""

    def load(self, directory):
        Sound.load(self, directory)
        if len(self.weights) > self.size:
            raise ValueError("too many weights")
        self.weights = np.append(self.weights, np.ones(self.size - len(self.weights)))


def test_a_save_that_cannot_be_loaded_under_the_old_value_shows_an_effect():
    a, b = ({**values, "size": size} for values, size in zip(SETS, (2, 4), strict=True))
    report = check_trainable(Grows, (a, b))
    assert report["size"].verdict is Verdict.OK
    assert report["goes on"].verdict is Verdict.OK


class RefusesB(Sound):
    def apply(self, hyperparameters):
        if hyperparameters["momentum"] == SETS[1]["momentum"]:
            raise ValueError("too slow")
        super().apply(hyperparameters)


def test_a_value_with_which_training_raises_is_a_failure():
    report = check_trainable(RefusesB, SETS)
    assert failed(report) == ["momentum", "goes on with b", "changes alive"]
    assert "0.9 -> 0.5 in round 0: ValueError: too slow" in report["momentum"].seen


class Worded(Sound):
    def apply(self, hyperparameters):
        nesterov = hyperparameters["kind"] == "nesterov"
        super().apply({"lr": 0.01, "momentum": 0.9 if nesterov else 0.5})


def test_values_that_are_words_are_drawn_from_a_space_too():
    report = check_trainable(Worded, {"kind": ev.Choice(["nesterov", "plain"])})
    assert report.ok
    assert {report.first["kind"], report.second["kind"]} == {"nesterov", "plain"}


def test_a_hyperparameter_with_one_value_is_not_compared():
    report = check_trainable(Sound, SPACE | {"momentum": 0.5})
    assert report.ok
    assert report["momentum"].seen == "always 0.5: nothing to compare"


class WritesIntoItsCheckpoint(Sound):
    def load(self, directory):
        super().load(directory)
        directory.chmod(0o700)
        (directory / "seen").touch()


def test_a_load_that_writes_into_the_checkpoint_is_found():
    report = check_trainable(WritesIntoItsCheckpoint, SETS)
    assert failed(report) == ["checkpoints"]
    assert "seen" in report["checkpoints"].seen


class SavesNothing(Sound):
    def save(self, directory):
        pass

    def load(self, directory):
        pass


class Raises(Sound):
    def train(self):
        raise RuntimeError("out of luck")


class TellsNothing(Sound):
    def train(self):
        super().train()


class TellsText(Sound):
    def train(self):
        return {"loss": "low"}


class Diverges(Sound):
    def train(self):
        return {"loss": math.nan}


@pytest.mark.parametrize(
    ("trainable", "seen"),
    [
        (SavesNothing, "saved 0 files"),
        (Raises, "RuntimeError: out of luck (test_check.py:"),
        (TellsNothing, "training returned NoneType None: wanted a dict of numbers"),
        (TellsText, "metric 'loss' must be a number, got str 'low'"),
        (Diverges, "loss is nan after training with a"),
    ],
)
def test_code_that_breaks_its_contract_is_told_so_and_nothing_else(trainable, seen):
    report = check_trainable(trainable, SETS)
    assert failed(report) == ["contract"]
    assert len(report.proofs) == 1
    assert seen in str(report)


class MeasuresLater(Sound):
    def train(self):
        return super().train() | ({"loss": math.nan} if self.job.round == 0 else {})


def test_a_metric_that_is_a_number_only_later_is_told_so():
    report = check_trainable(MeasuresLater, SETS)
    assert failed(report) == ["contract"]
    assert "later it is 0." in report["contract"].advice
    assert "give a number from the first round on" in report["contract"].advice
    assert "later it is" not in check_trainable(Diverges, SETS)["contract"].advice


def test_an_objective_that_is_not_returned_is_named():
    report = check_trainable(Sound, SETS, metric="accuracy")
    assert "the objective 'accuracy' is not among them" in report["contract"].seen


def sound(job: ev.Job):
    trained = Sound()
    trained.job = job
    trained.setup(job.hyperparameters, ev.Context(study="", member=0, seed=job.seed))
    if job.checkpoint is not None:
        trained.load(job.checkpoint)
    trained.apply(job.hyperparameters)
    metrics = trained.train()
    trained.save(job.directory)
    return metrics


def test_a_sound_function_passes_and_is_told_what_could_not_be_seen():
    report = check_trainable(sound, SETS, metric="loss")
    assert report.ok
    assert report["goes on"].verdict is Verdict.OK
    assert "a function loads in every round" in report["saves all"].seen


def starts_anew(job: ev.Job):
    job.checkpoint = None
    return sound(job)


def test_a_function_that_never_loads_is_found():
    report = check_trainable(starts_anew, SETS)
    assert "goes on" in failed(report)
    assert "every round starts from nothing" in report["goes on"].advice


def starts_anew_alike(job: ev.Job):
    """Without a draw, every round comes to the same: nothing moves, for nothing is loaded."""
    (job.directory / "w.json").write_text(json.dumps([job.hyperparameters["lr"]] * 2))
    return {"loss": 1 - job.hyperparameters["lr"] * job.hyperparameters["momentum"]}


def at_its_limit(job: ev.Job):
    sound(job)
    (job.directory / "state.json").rename(job.directory / "state.bin")
    with open(job.directory / "state.bin", "a") as file:
        file.write(f" at {time.perf_counter_ns()}")
    return {"accuracy": 1.0}


def test_a_round_that_comes_to_the_same_is_no_fault_only_where_the_state_cannot_be_seen():
    assert failed(check_trainable(starts_anew_alike, SETS, only=["goes on"])) == ["goes on"]
    limit = check_trainable(forgives(at_its_limit), SETS, only=["goes on"])
    assert limit.ok
    assert "nothing can be seen" in limit["goes on"].seen


def forgives(function):
    def without_a_checkpoint(job):
        job.checkpoint = None
        return function(job)

    return without_a_checkpoint


def insists(job: ev.Job):
    if job.round > 0 and job.checkpoint is None:
        raise ValueError("nothing to go on from")
    return sound(job)


def test_a_function_that_insists_on_its_checkpoint_goes_on_from_it():
    report = check_trainable(insists, SETS)
    assert report.ok
    assert "ValueError: nothing to go on from" in report["goes on"].seen


def silent(job: ev.Job):
    sound(job)
    return {}


def test_without_any_metrics_there_is_nothing_to_breed_by():
    report = check_trainable(silent, SETS)
    assert failed(report) == ["contract"]
    assert "returned no metrics; saved 1 file; the objective is not among" in str(report)


def diverges(job: ev.Job):
    return sound(job) | ({"loss": math.nan} if job.round else {})


def evaluates_first(job: ev.Job):
    return {name: x for name, x in sound(job).items() if name != "loss" or job.round == 0}


@pytest.mark.parametrize(
    ("trainable", "metric", "seen"),
    [(diverges, None, "loss is nan"), (evaluates_first, "loss", "loss is missing")],
)
def test_an_objective_that_is_none_in_the_second_round_is_found(trainable, metric, seen):
    report = check_trainable(trainable, SETS, metric=metric)
    assert failed(report) == ["goes on"]
    assert report["goes on"].seen.startswith(f"{seen} after training with a: lr 0.1")


def several(job: ev.Job):
    return sound(job) | {"validation": math.nan}


def test_who_has_not_named_the_objective_is_asked_to():
    report = check_trainable(several, SETS)
    assert report["contract"].advice.endswith('is not the objective, say which is: metric="…"')
    assert check_trainable(several, SETS, metric="loss").ok


def sweeps(job: ev.Job):
    metrics = sound(job)
    shutil.rmtree(job.directory)
    return metrics


def test_a_directory_that_training_has_removed_is_a_fault():
    assert "cannot be sealed" in check_trainable(sweeps, SETS)["contract"].seen


def test_a_proof_that_was_not_tried_is_not_in_the_report():
    with pytest.raises(KeyError, match="goes on"):
        check_trainable(Unseeded, SETS)["goes on"]


class ObeysFromRound1(Sound):
    def train(self):
        if self.job.round == 0:
            self.settings["lr"] = 0.05
        return super().train()


def test_what_acts_after_the_first_round_only_is_seen():
    assert check_trainable(ObeysFromRound1, SETS, metric="loss")["lr"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds: got 0, wanted 1 or more"),
        (
            {"space_or_sets": SETS[:1]},
            "space: wanted a space or two sets of hyperparameters, got .{3}lr",
        ),
        ({"space_or_sets": (SETS[0], {"lr": 1.0})}, "must name the same hyperparameters"),
        ({"space_or_sets": None}, "space: wanted a space or two sets of .*, got None"),
        ({"only": "lr", "skip": ["lr"]}, "skip: got lr: it leaves none of those in only"),
        ({"max_seconds": -1.0}, "max_seconds: got -1, wanted 0 or more"),
        ({"trainable": 3}, "wanted a function or an ev.Trainable class"),
        ({"trainable": "no_such_module:f"}, "no module 'no_such_module'"),
    ],
)
def test_unusable_arguments_are_named(changes, message):
    arguments = {"trainable": Sound, "space_or_sets": SETS} | changes
    with pytest.raises(ConfigError, match=message):
        check_trainable(**arguments)


class Counts(Sound):
    """Keeps something of the member before, which neither load nor apply set."""

    steps = 0

    def train(self):
        self.steps += 1
        self.theta = self.theta + 0.01 * self.steps
        return super().train()

    def state(self):
        return super().state() | {"steps": self.steps}


class CountsOn(Counts):
    def load(self, directory):
        steps = self.steps
        super().load(directory)
        self.steps = max(steps, self.steps)


class Resets(Sound):
    def reset(self, hyperparameters):
        self.theta = np.random.default_rng(self.job.seed).normal(size=3)
        self.velocity = np.zeros(3)


class ResetsHalf(Sound):
    def reset(self, hyperparameters):
        self.theta = np.random.default_rng(self.job.seed).normal(size=3)


EXPLORES = ev.PBT(explore=ev.Perturb())


class Kinds(Sound):
    def apply(self, hyperparameters):
        slower = 0.5 if hyperparameters["kind"] == "slow" else 1.0
        self.settings = {**hyperparameters, "lr": slower * hyperparameters["lr"]}


def test_an_object_that_is_moved_to_another_member_trains_as_one_of_its_own():
    assert check_trainable(Counts, SPACE, algorithm=EXPLORES)["moves"].verdict is Verdict.OK
    space = SPACE | {"kind": ev.Choice(["slow", "fast"])}  # stays with the weights
    assert check_trainable(Kinds, space, algorithm=EXPLORES)["moves"].verdict is Verdict.OK
    report = check_trainable(CountsOn, SPACE, algorithm=EXPLORES, rounds=2)
    assert "moves" in failed(report)
    assert "load() must bring back all" in report["moves"].advice


def test_a_reset_leaves_nothing_of_the_member_before():
    assert check_trainable(Resets, SPACE, algorithm=EXPLORES)["resets"].verdict is Verdict.OK
    report = check_trainable(ResetsHalf, SPACE, algorithm=EXPLORES)
    assert failed(report) == ["resets"]


def test_proofs_can_be_chosen_by_name():
    report = check_trainable(Sound, SETS, only=["lr"])
    assert [p.name for p in report.proofs] == ["contract", "repeats", "lr"]
    names = [p.name for p in check_trainable(Sound, SETS, skip=["lr", "goes on"]).proofs]
    assert "momentum" in names
    assert not {"lr", "goes on"} & set(names)
    with pytest.raises(ConfigError, match="no proof 'lrr': there are contract, repeats, goes on"):
        check_trainable(Sound, SETS, only=["lrr"])


def test_proofs_for_which_there_is_no_time_are_listed():
    report = check_trainable(Sound, SETS, max_seconds=1e-9)
    assert report["goes on"].verdict is report["lr"].verdict is Verdict.SKIPPED
    assert report.summary == "1 proof, none failed, 9 not done"


def test_how_far_it_is_is_told_before_every_round():
    told = []
    check_trainable(Sound, SETS, on_progress=told.append)
    assert [p.trained for p in told] == list(range(len(told)))
    assert told[0].seconds_left is None
    assert told[-1].planned == len(told)


@pytest.mark.parametrize(("form", "words"), [(None, "job.checkpoint"), ("command", "{checkpoint}")])
def test_advice_speaks_of_the_form_at_hand(form, words):
    report = check_trainable(starts_anew, SETS, form=form)
    assert f"load {words} when" in report["goes on"].advice
    assert "apply()" not in str(report)


def torch_zeros_like(tensor):
    return __import__("torch").zeros_like(tensor)


class TestPyTorch:
    """The same faults with a real optimizer."""

    @pytest.fixture
    def net(self):
        torch = pytest.importorskip("torch")

        class Net(ev.Trainable):
            def setup(self, hyperparameters, context):
                ev.torch.seed(context.seed)
                self.model = torch.nn.Linear(4, 1)
                self.optimizer = torch.optim.SGD(self.model.parameters(), **hyperparameters)

            def apply(self, hyperparameters):
                ev.torch.apply(self.optimizer, hyperparameters)

            def train(self):
                ev.torch.seed(self.job.seed)
                for _ in range(3):
                    self.optimizer.zero_grad()
                    loss = (self.model(torch.randn(8, 4)) - 1).square().mean()
                    loss.backward()
                    self.optimizer.step()
                return {"loss": loss}

            def save(self, directory):
                ev.torch.save(directory, model=self.model, optimizer=self.optimizer)

            def load(self, directory):
                ev.torch.load(directory, model=self.model, optimizer=self.optimizer)

        return Net

    def test_a_sound_one_passes(self, net):
        assert check_trainable(net, SETS, metric="loss").ok

    def test_an_optimizer_whose_loaded_state_brings_the_old_values_back_is_found(self, net):
        class Classic(net):
            def apply(self, hyperparameters):
                """Believe that the optimizer built in `setup` still has the new values."""

        report = check_trainable(Classic, SETS, metric="loss")
        assert failed(report) == ["lr", "momentum"]
        assert all("brought the old value back" in proof.seen for proof in report.failed)

    def test_where_rounds_do_not_repeat_the_optimizer_still_tells(self, net):
        class Unsteady(net):
            def apply(self, hyperparameters):
                ev.torch.apply(self.optimizer, hyperparameters, ("momentum",))

            def train(self):
                self.job.seed = next(Unseeded.counter)
                return super().train()

        report = check_trainable(Unsteady, SETS, metric="loss")
        assert failed(report) == ["repeats", "lr"]
        assert "the optimizer has the lr of before" in report["lr"].seen
        assert report["momentum"].verdict is Verdict.OK

    def test_a_save_that_forgets_the_optimizer_is_found(self, net):
        class Forgets(net):
            def save(self, directory):
                ev.torch.save(directory, model=self.model)

            def load(self, directory):
                ev.torch.load(directory, model=self.model)

        report = check_trainable(Forgets, SETS, metric="loss")
        assert failed(report) == ["goes on"]

    def test_an_ignored_hyperparameter_is_found(self, net):
        class Ignores(net):
            def setup(self, hyperparameters, context):
                super().setup(dict(hyperparameters) | {"momentum": 0.5}, context)

            def apply(self, hyperparameters):
                ev.torch.apply(self.optimizer, hyperparameters, ("lr",))

        report = check_trainable(Ignores, SETS, metric="loss")
        assert failed(report) == ["momentum"]
        assert "the optimizer has momentum 0.5 whatever is given" in report["momentum"].seen

    def test_an_optimizer_that_has_the_value_obeys_where_nothing_else_shows_it(self, net):
        class Converged(net):
            def train(self):
                for group in self.optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.grad = torch_zeros_like(parameter)
                self.optimizer.step()
                return {"loss": 0.0}

        report = check_trainable(Converged, SETS, metric="loss", only=["lr", "momentum"])
        assert report["lr"].verdict is report["momentum"].verdict is Verdict.OK

    def test_a_scheduler_that_brings_the_old_rate_back_is_found(self, net):
        class Scheduled(net):
            def setup(self, hyperparameters, context):
                super().setup(hyperparameters, context)
                torch = pytest.importorskip("torch")
                self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda _: 1.0)
                self.optimizer.register_step_post_hook(lambda *_: self.scheduler.step())

            def save(self, directory):
                ev.torch.save(directory, m=self.model, o=self.optimizer, s=self.scheduler)

            def load(self, directory):
                ev.torch.load(directory, m=self.model, o=self.optimizer, s=self.scheduler)

        report = check_trainable(Scheduled, SETS, metric="loss", only=["lr"])
        assert failed(report) == ["lr"]
        assert "a scheduler brought it back" in report["lr"].seen

    def test_draws_from_the_global_generator_without_a_seed_are_found(self, net):
        class Unseeded(net):
            def train(self):
                self.job.seed = int.from_bytes(__import__("os").urandom(3), "little")
                return super().train()

        assert failed(check_trainable(Unseeded, SETS, metric="loss")) == ["repeats"]
