"""Arguments and options that several commands share, and what they open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from inspect import Parameter, Signature, getdoc, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

from evolvent.validation import DEFAULT_STORE as DEFAULT_STORE  # noqa: PLC0414 - for commands

if TYPE_CHECKING:
    from evolvent.study import Study

StoreUrl: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store", metavar="URL", envvar="EVOLVENT_STORE",
        help="Where studies live, such as sqlite:///some/file.db.",
    ),
]  # fmt: skip
StudyName: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="STUDY", help="Name of the study. \\[default: the newest]")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

EXIT_ERROR, EXIT_UNKNOWN, EXIT_INTERRUPTED = 1, 3, 130
"""Of a failure of any kind, of a name of what is not there, of Ctrl-C; 2 is wrong usage."""


WORDS = "evolvent.words"
"""Under this name a command finds in the `meta` of its context what came after `--`."""


class CommandParser(TyperCommand):
    """Keeps what comes after `--` from the parser of options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Here, before any parsing: the words have options of their own, and may have a `--` too.
        if "--" in args:
            at = args.index("--")
            ctx.meta[WORDS] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


class Format(Enum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"

    @classmethod
    def from_options(
        cls,
        as_json: AsJson = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    ) -> Format:
        if as_json and as_csv:
            raise typer.BadParameter("--json and --csv exclude each other")
        return cls.JSON if as_json else cls.CSV if as_csv else cls.TABLE


def add_command(app: typer.Typer, name: str, command: Callable[..., None], **settings: Any) -> None:
    """Add a command; what its docstring says from the first heading on stands below its options."""
    text, heading, rest = (getdoc(command) or "").partition("\n\n[bold]")
    below = f"\n[bold]{rest}" if heading else None
    app.command(name, help=text, epilog=below, **settings)(_with_options(command))


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command as typer wants it: with options only.

    A parameter whose type has `from_options` is made by it, of the options that this takes: they
    stand in its place.
    """
    parameters: list[Parameter] = []
    groups = {}
    for parameter in signature(command, eval_str=True).parameters.values():
        make = getattr(parameter.annotation, "from_options", None)
        if make is None:
            parameters.append(parameter)
        else:
            groups[parameter.name] = make, signature(make, eval_str=True).parameters
            parameters += groups[parameter.name][1].values()

    @wraps(command)
    def of_options(**values: Any) -> None:
        for name, (make, options) in groups.items():
            values[name] = make(**{option: values.pop(option) for option in options})
        command(**values)

    # What typer reads.
    of_options.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    of_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return of_options


@dataclass(frozen=True, slots=True)
class StudyChoice:
    """Which study a command is about; without a name, the newest of the store."""

    name: str | None
    store: str

    @classmethod
    def from_options(cls, study: StudyName = None, store: StoreUrl = DEFAULT_STORE) -> StudyChoice:
        return cls(study, store)

    def open(self) -> Study:
        from evolvent.studies import load_study

        return load_study(self.name, store=self.store)


def split_names(names: str) -> list[str]:
    """Return names that stand in one text, with commas between them."""
    return [name.strip() for name in names.split(",") if name.strip()]


Grace: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--grace", metavar="SECONDS", envvar="EVOLVENT_GRACE",
        help="After SIGTERM or Ctrl-C, hand running jobs back after so long. "
        "\\[default: finish them]",
    ),
]  # fmt: skip


def check_seconds(option: str, value: float | None) -> float | None:
    """Return the value of an option, if it is one.

    Raises:
        BadParameter: it is not above 0.
    """
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{option}: got {value:g}, wanted seconds above 0")
    return value
