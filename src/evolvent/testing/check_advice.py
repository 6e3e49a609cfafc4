"""What to do about a fault, in the words of the form that training code has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Form: TypeAlias = Literal["class", "function", "command", "loop"]


_KEPT = {"loop": ", a model or generator made outside the loop"}


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice for one form: a class has methods, a function, a loop and a command have a job."""

    form: Form

    @property
    def save(self) -> str:
        """Where the model is to be written."""
        where = {"class": "the directory that save() is given", "command": "{directory}"}
        return f"write the model into {where.get(self.form, 'job.directory')}"

    @property
    def load(self) -> str:
        checkpoint = "{checkpoint}" if self.form == "command" else "job.checkpoint"
        there = "it is given" if self.form == "command" else "it is not None"
        return f"load {checkpoint} when {there}: every round starts from nothing"

    @property
    def own_state(self) -> str:
        """Where that is to be kept from which training goes on."""
        to, of = ("{directory}", "{checkpoint}")
        if self.form != "command":
            to, of = ("job.directory", "job.checkpoint")
        return (
            f"save all that training goes on from in {to}, and load it from {of}: files elsewhere, "
            "and globals, are those of whichever member has trained last"
        )

    @property
    def own_directory(self) -> str:
        where = "{directory}" if self.form == "command" else "job.directory"
        return f"write into {where} only: other members start from the same checkpoint"

    @property
    def seed(self) -> str:
        is_command = self.form == "command"
        checkpoint = "{checkpoint}" if is_command else "job.checkpoint"
        draw = (
            "seed everything random with {seed}, or $EVOLVENT_SEED"
            if is_command
            else "draw everything random from generators seeded with job.seed "
            "(ev.torch.seed(job.seed) seeds the global ones)"
        )
        elsewhere = f"a global, a file elsewhere than in {checkpoint}{_KEPT.get(self.form, '')}"
        return (
            f"{draw}, and keep nothing from another round ({elsewhere}): without this, studies "
            "cannot be repeated and the proofs below cannot be exact"
        )

    @property
    def save_all(self) -> str:
        return (
            "save() must write everything that training needs to go on, and load() must read it "
            "back: weights, the optimizer's state, counters, running averages, and the state of "
            "random generators (or seed them from self.job.seed at the start of train(), then none "
            "is needed)"
        )

    @property
    def same_live(self) -> str:
        return (
            "a live model and a loaded one must end up the same after apply(): write in apply() "
            "every value that setup() takes from the hyperparameters"
        )

    @property
    def moved(self) -> str:
        return (
            "load() must bring back all that train() depends on, and apply() put in force all that "
            "explore changes: counters, caches, running averages of the member before must not "
            "stay; until then: keep_alive=0"
        )

    @property
    def reset(self) -> str:
        return "reset() must leave nothing of the member before: weights, optimizer, counters"

    @property
    def own(self) -> str:
        """Where what training changes is to be kept."""
        if self.form == "class":
            return "keep in self, from setup() on, all that training changes"
        return "make all that training changes anew in every round, from job.checkpoint"

    @property
    def shared(self) -> str:
        return f"fine where every round first puts back all of it; safer: {self.own}"

    @property
    def in_turns(self) -> str:
        return f"no fault as long as keep_alive is 1, which is the default; for more: {self.own}"

    def apply(self, name: str) -> str:
        """How a hyperparameter gets in force after a load."""
        where = ", in apply()" if self.form == "class" else ""
        example = "for PyTorch ev.torch.apply(optimizer, hyperparameters), elsewhere "
        if self.form == "command":
            example = ""
        return (
            f"set {name!r} again after every load{where}: {example}write it into what trains. If "
            "it cannot change in a loaded model, leave it without an explore strategy"
        )

    def reschedule(self, name: str) -> str:
        """How a rate gets in force where a scheduler may have brought the old one back."""
        return (
            f"{self.apply(name)}. If a scheduler was loaded too, it goes on from the old value: "
            "give it the new one (for PyTorch its base_lrs, and initial_lr of every group), or "
            "build it anew after every load"
        )

    def read(self, name: str) -> str:
        """How training gets a hyperparameter."""
        if self.form == "command":
            return f"does the command take {{{name}}}?"
        of = "hyperparameters" if self.form == "class" else "job.hyperparameters"
        keys = "".join(f"[{key!r}]" for key in name.split("."))
        return f"does training read {of}{keys}?"
