"""The token that this machine shows to a service: from the environment, or a file of one's own."""

from __future__ import annotations

import os
import stat
from errno import EINVAL
from pathlib import Path

from evolvent.errors import ConfigError
from evolvent.store.atomic_write import is_special, replacing
from evolvent.store.tokens import looks_like_token

TOKEN = "EVOLVENT_TOKEN"
TOKEN_FILE = "EVOLVENT_TOKEN_FILE"

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOST_BYTES = 1000


def token_file() -> Path:
    """Return where the token lies when the environment does not hold it."""
    if given := os.environ.get(TOKEN_FILE):
        return Path(given).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "evolvent" / "token"


def read_token() -> str | None:
    """Return the token to send: EVOLVENT_TOKEN, or what the file holds; None without either.

    Raises:
        ConfigError: others may read the file, it cannot be read, or it holds no token.
    """
    if (given := os.environ.get(TOKEN, "").strip()) != "":
        return _checked(given, TOKEN)
    path = token_file()
    try:
        text = _read_private(path)
    except FileNotFoundError:
        if TOKEN_FILE in os.environ:
            raise ConfigError(f"{TOKEN_FILE}: there is no file {path}") from None
        return None
    except OSError as e:
        raise ConfigError(f"token file {path}: {e.strerror}") from e
    return _checked(text.strip(), str(path))


def write_token(token: str) -> Path:
    """Keep a token in the file, which only this user may read; return the file.

    Raises:
        ConfigError: it is no token, or cannot be written.
    """
    path = token_file()
    _checked(token, "token")
    try:
        if is_special(path):
            raise OSError(EINVAL, "it is no file, and keeps nothing")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with its final permissions: there is no moment at which others could read it.
        with (
            replacing(path, error=ConfigError) as aside,
            open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file,
        ):
            file.write(f"{token}\n")
    except OSError as e:
        raise ConfigError(f"token file {path}: {e.strerror}") from e
    return path


def _read_private(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & _OTHERS:
            raise ConfigError(
                f"token file {path}: others may read it (mode {stat.S_IMODE(mode):04o}): "
                f"chmod 600 {path}, and make another token if somebody may have"
            )
        return file.read(_MOST_BYTES)


def _checked(token: str, where: str) -> str:
    if not looks_like_token(token):
        raise ConfigError(
            f"{where}: holds no token: wanted one line 'evt_…', as `evolvent token create` prints "
            f"it, got {len(token)} other characters"
        )
    return token
