"""Commands about who may use the service: token create, list, revoke; login."""

from __future__ import annotations

import os
import re
import sys
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolvent.cli.options import DEFAULT_STORE, Format, StoreUrl, add_command
from evolvent.cli.render.output import print_rows
from evolvent.display.words import local_time

if TYPE_CHECKING:
    from evolvent.store.tokens import Token, Tokens

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class RoleName(StrEnum):
    """What a token is for."""

    VIEWER = "viewer"
    WORKER = "worker"
    ADMIN = "admin"


def create(
    role: Annotated[RoleName, typer.Option(help="What it is for.")],
    store: StoreUrl = DEFAULT_STORE,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Open this study only. \\[default: all]")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="After so long, such as 12h, 30d. \\[default: never]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Whose it is, or what for.")
    ] = None,
) -> None:
    """Make a token and print it, this once.

    [bold]Examples[/bold]
      evolvent token create --role viewer --name 'Ada, browser'
      evolvent token create --role worker --study digits --expires 30d
      EVOLVENT_TOKEN=$(evolvent token create --role worker)

    [bold]Roles[/bold]
      viewer  reads everything
      worker  reads, and claims, reports and uploads
      admin   does everything: creates, stops, extends and deletes studies

    Run it where the service runs, with the same --store: it needs no restart.
    The token is printed once. The store keeps its hash, not the token.
    """
    from evolvent.store import open_store
    from evolvent.store.tokens import tokens_of

    lifetime_s = None if expires is None else _seconds(expires)
    opened = open_store(store)
    tokens = tokens_of(opened)
    if study is not None:
        opened.find_study(study)  # a slip in the name would make a token that opens nothing
    secret, token = tokens.create(role.value, study=study, name=name, lifetime_s=lifetime_s)
    print(secret)
    print(f"{_described(token)}. It is shown this once: keep it.", file=sys.stderr)


def show(store: StoreUrl = DEFAULT_STORE, form: Format = Format.TABLE) -> None:
    r"""List all tokens there ever were, the newest last; never the tokens themselves.

    [bold]Examples[/bold]
      evolvent token list
      evolvent token list --json | jq '.\[] | select(.state == "active")'
    """
    tokens = _tokens(store)
    now = tokens.now()
    print_rows(_TITLES, [_row(token, now) for token in tokens.list()], form)


_TITLES = ("id", "name", "role", "study", "state", "created_at", "expires_at")


def _row(token: Token, now: float) -> list[Any]:
    times = [None if at is None else local_time(at) for at in (token.created_at, token.expires_at)]
    return [token.id, token.name, token.role, token.study, token.state(now), *times]


def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="From the list; or the token itself.")],
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Revoke a token: from now on it opens nothing, and who signed in with it is signed out.

    [bold]Examples[/bold]
      evolvent token revoke 3f9c02d1a7be
      evolvent token revoke evt_…            a token that has got into wrong hands
    """
    token = _tokens(store).revoke(id)
    print(f"revoked {_described(token)}")


def login(url: Annotated[str, typer.Argument(metavar="URL", help="Of the service.")]) -> None:
    """Keep a token for this machine, once the service has taken it.

    [bold]Examples[/bold]
      evolvent login https://host:8080          asks for the token
      evolvent login https://host:8080 < file   reads it

    It is kept in ~/.config/evolvent/token, or where EVOLVENT_TOKEN_FILE says, for
    this user's eyes only. EVOLVENT_TOKEN, where it is set, goes before it.
    """
    from evolvent.store import open_store
    from evolvent.store.http.credentials import TOKEN, write_token

    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"got {url!r}, wanted the URL of a service: https://host:8080")
    if sys.stdin.isatty():
        token = typer.prompt("Token", hide_input=True, err=True).strip()
    else:
        token = sys.stdin.readline().strip()
    os.environ[TOKEN] = token  # for this process: the one way in for whatever opens a service
    with closing(open_store(url)) as opened:
        n = len(opened.studies())
    print(f"{url} takes it ({n} studies); kept in {write_token(token)}")


def _tokens(store: str) -> Tokens:
    from evolvent.store import open_store
    from evolvent.store.tokens import tokens_of

    return tokens_of(open_store(store, create=False))


def _described(token: Token) -> str:
    name = "" if token.name == token.id else f" {token.name!r}"
    reach = "all studies" if token.study is None else f"study {token.study!r}"
    end = "" if token.expires_at is None else f", until {local_time(token.expires_at)}"
    return f"token {token.id}{name}: {token.role} for {reach}{end}"


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if not found or int(found[1]) == 0:
        raise typer.BadParameter(
            f"--expires: got {text!r}, wanted a number and a unit, such as 90m, 12h, 30d or 4w"
        )
    return float(int(found[1]) * _SECONDS[found[2]])


tokens = typer.Typer(
    help="Say who may use the service: make, list and revoke tokens.", no_args_is_help=True
)
add_command(tokens, "create", create)
add_command(tokens, "list", show)
add_command(tokens, "revoke", revoke)
COMMANDS = (login,)
