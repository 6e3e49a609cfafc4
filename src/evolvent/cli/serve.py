"""The command that turns a store into a service."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolvent.cli.options import DEFAULT_STORE

if TYPE_CHECKING:
    from evolvent.service.settings import ServiceSettings
    from evolvent.store.tokens import Tokens

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def serve(
    store: Annotated[
        str, typer.Argument(metavar="STORE", envvar="EVOLVENT_STORE", help="Where studies live.")
    ] = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="Port to listen on; 0 for any that is free."
        ),
    ] = 8080,
    certfile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate (PEM), to speak TLS.")
    ] = None,
    keyfile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key (PEM), if not in the same file.")
    ] = None,
    max_checkpoint_size: Annotated[
        str, typer.Option(metavar="SIZE", help="The largest checkpoint taken, such as 500M, 16G.")
    ] = "16G",
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="Believe X-Forwarded-For and -Proto from there; repeatable."
        ),
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long SIGTERM waits for requests.")
    ] = 8.0,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Write a line for every request.")
    ] = False,
) -> None:
    """Serve a store to other machines and to browsers, until Ctrl-C or SIGTERM.

    [bold]Examples[/bold]
      evolvent serve                                 for this machine only
      evolvent serve runs.db --host 0.0.0.0 --certfile cert.pem --keyfile key.pem
      evolvent serve --trust-proxy 127.0.0.1         behind a proxy that does TLS

    [bold]Then[/bold]
      evolvent token create --role worker            here, with the same store
      export EVOLVENT_TOKEN=evt_…                    on every other machine
      evolvent worker https://host:8080 digits mypackage.train:Net

    Without a token nothing is to be had but GET /health. SIGTERM and Ctrl-C let
    running requests finish and end with 0; a second one ends at once. Nothing
    that was answered is lost, however it ends.
    """
    from evolvent.service.server.run import check_certificate, listener
    from evolvent.service.server.run import serve as run
    from evolvent.service.settings import ServiceSettings
    from evolvent.store import open_store
    from evolvent.store.tokens import tokens_of

    settings = ServiceSettings(
        host=host,
        port=port,
        certfile=certfile,
        keyfile=keyfile,
        max_checkpoint_bytes=_bytes(max_checkpoint_size),
        trusted_proxies=tuple(trust_proxy or ()),
        drain_s=drain,
    )
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.WARNING)
    # Tried before the store is opened: who cannot listen leaves no empty file behind.
    check_certificate(settings.certfile, settings.keyfile)
    listener(settings).close()
    with closing(open_store(store)) as opened:
        tokens = tokens_of(opened)
        run(opened, settings, ready=lambda url: _welcome(url, opened.url, tokens, settings))
    print("stopped", file=sys.stderr)


def _welcome(url: str, store: str, tokens: Tokens, settings: ServiceSettings) -> None:
    if settings.exposed and not settings.encrypted:
        _say(
            "warning: other machines can reach this, and TLS is off: whoever listens on the "
            "network reads the tokens. Give --certfile and --keyfile, or put a proxy with TLS "
            "in front and listen on 127.0.0.1"
        )
    _first_token(store, tokens)
    print(f"serving {store} at {url}  (Ctrl-C stops)", flush=True)


def _first_token(store: str, tokens: Tokens) -> None:
    if any(token.role == "admin" for token in tokens.active()):
        return
    if sys.stderr.isatty() or store.startswith("memory:"):
        secret, _ = tokens.create("admin", name="first")
        _say(f"There is no admin token yet; here is one, shown this once: keep it.\n\n  {secret}\n")
    else:  # a log would keep it
        _say(f"there is no admin token yet: evolvent token create --role admin --store {store}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,12})\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found or int(found[1]) == 0:
        raise typer.BadParameter(f"--max-checkpoint-size: got {text!r}, wanted such as 500M or 16G")
    return int(found[1]) * _UNITS[found[2].upper()]


COMMANDS = (serve,)
