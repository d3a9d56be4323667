"""What can go wrong in the development cluster, by who can mend it."""

from __future__ import annotations


class UserError(Exception):
    """Something the caller has to change first: exit code 2."""


class ClusterError(Exception):
    """The cluster did not start or end as it should: exit code 1."""


def require(ok: bool, message: str) -> None:
    if not ok:
        raise UserError(message)
