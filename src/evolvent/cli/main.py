"""The `evolvent` command: its subcommands, and what their errors mean to a shell."""

from __future__ import annotations

import io
import os
import sys
import warnings
from errno import EBADF, EFBIG, EIO, EPIPE
from shutil import get_terminal_size
from textwrap import TextWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from evolvent import __version__
from evolvent.cli import (
    archive,
    check,
    compare,
    control,
    exec,
    explain,
    log,
    plot,
    read,
    replay,
    schedule,
    serve,
    token,
    train,
)
from evolvent.cli.options import EXIT_ERROR, EXIT_UNKNOWN, CommandParser, add_command
from evolvent.errors import NO_SPACE, ArchiveError, ConfigError, EvolventError, UnknownName

_EPILOG = """
[bold]Examples[/bold]
  evolvent demo               breed eight small networks on handwritten digits
  evolvent run study.toml     start a study from a file, or go on with it
  evolvent show --watch       look at the newest study while it runs
  evolvent worker --latest    join it from a second terminal; kill it freely
  evolvent best               the best model, and the schedule that made it
  evolvent jobs --where 'score>0.9' --sort -score --fields id,score,lr

[bold]Exit codes[/bold]
  0    fine
  1    an error, told on stderr
  2    wrong usage
  3    no such study, job, member, hyperparameter, field, metric,
       module, script, program, token, store or file
  130  interrupted"""


class Commands(TyperGroup):
    """Turns our errors into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand."""
        try:
            return super().invoke(ctx)
        except EvolventError as e:
            _print_error(f"error: {e}")
            raise typer.Exit(EXIT_UNKNOWN if _is_unknown(e) else EXIT_ERROR) from e


def _is_unknown(error: EvolventError) -> bool:
    """Whether a name was given of what is not there: study, job, field, metric, file."""
    given = isinstance(error, (ConfigError, ArchiveError))
    missing = given and isinstance(error.__cause__, (FileNotFoundError, UnknownName))
    return missing or isinstance(error, LookupError)


_CANNOT_BE_WRITTEN = {*NO_SPACE, EBADF, EFBIG, EIO, EPIPE}

app = typer.Typer(
    name="evolvent",
    cls=Commands,
    epilog=_EPILOG,
    help="Population Based Training: breeds hyperparameters while the models train.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"evolvent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Population Based Training: breeds hyperparameters while the models train."""


def _print_error(message: str) -> None:
    print(_broken(message), file=sys.stderr)


def _broken(message: str) -> str:
    """Return a message for standard error: for a terminal between words, but not within a path."""
    lines = message.splitlines()
    if sys.stderr.isatty():
        wrapper = TextWrapper(
            get_terminal_size().columns, break_long_words=False, break_on_hyphens=False
        )
        lines = [wrapper.fill(line) for line in lines]
    return "\n".join(lines)


_TRAINING = (
    exec.exec_, train.run, train.resume, train.worker, replay.replay, compare.control, check.check
)  # fmt: skip
_PARSERS = dict.fromkeys(_TRAINING, CommandParser)
_PANELS = {
    "Train": (train, exec, replay),
    "Look": (read, log, compare, explain, plot),
    "Steer": (control, check),
    "Keep": (schedule, archive),
    "Serve": (serve, token),
}
for _panel, _modules in _PANELS.items():
    for _command in (command for module in _modules for command in module.COMMANDS):
        _name = _command.__name__.rstrip("_")  # `import_`, whose name Python keeps for itself
        add_command(app, _name, _command, cls=_PARSERS.get(_command), rich_help_panel=_panel)
app.add_typer(token.tokens, name="token", rich_help_panel="Serve")


def main() -> None:
    """Run the command line."""
    if "" not in sys.path and not sys.flags.safe_path:
        sys.path.append("")  # as `python -m` looks there, but after all that is installed
    warnings.formatwarning = lambda message, *_, **__: _broken(f"warning: {message}") + "\n"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what its encoding lacks ends nothing
    try:
        try:
            app()
        finally:
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()  # else Python complains in words of its own when it ends
    except OSError as e:
        if e.filename is not None or e.errno not in _CANNOT_BE_WRITTEN:
            raise
        # Of all that commands write to, standard output alone is no file that has a name.
        _give_up_output(e)
        raise SystemExit(EXIT_ERROR) from None


def _give_up_output(error: OSError) -> None:
    """Say that it cannot be written; nothing where nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
    if not isinstance(error, BrokenPipeError):
        _print_error(f"error: standard output: {error.strerror}")
