"""Who is asking, and whether they may.

The middleware of `service.auth` puts an `Identity` on `request.state.identity`; the table in
`service.access` says which role each route asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from starlette.requests import HTTPConnection

from evolvent.errors import Forbidden, Unauthenticated


class Role(IntEnum):
    """What a token allows; each role includes those before it."""

    VIEWER = 1  # read everything
    WORKER = 2  # claim, report, push checkpoints
    ADMIN = 3  # create, stop, extend, delete


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever sent this request.

    Attributes:
        role: what they may do.
        study: the name of the one study they may touch; None for all.
        name: of the token, for the log and for rate limits.
    """

    role: Role
    study: str | None
    name: str


def current_identity(request: HTTPConnection) -> Identity:
    """Return who is asking.

    Raises:
        Unauthenticated: nobody known.
    """
    identity = getattr(request.state, "identity", None)
    if not isinstance(identity, Identity):
        raise Unauthenticated("this needs a token: send 'Authorization: Bearer evt_…'")
    return identity


def check_role(identity: Identity, role: Role) -> None:
    """Refuse a role that is too low.

    Raises:
        Forbidden: it is.
    """
    if identity.role < role:
        raise Forbidden(
            f"token {identity.name!r} has the role {identity.role.name.lower()}: "
            f"this needs {role.name.lower()}",
            field="token",
        )
