"""The error tree. Why it exists: every failure says whose fault it is, what happened, why, and what to do.

Rules: `code` is stable (scripts rely on it), `status` is the HTTP status, `is_retryable` says whether the same
call may succeed later. A message never holds prompt text, answer text or a key.
"""

from __future__ import annotations


class FreeholdError(Exception):
    """Any failure that Freehold explains.

    message: what happened and why, in one or two sentences.
    code: stable dotted name, such as `budget.exhausted`.
    status: HTTP status that carries it.
    hint: what the reader can do, if there is something.
    """

    status = 500
    is_retryable = False

    def __init__(
        self, message: str, *, code: str, status: int | None = None, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = self.status if status is None else status
        self.hint = hint
        self.retry_after_s = retry_after_s

    @property
    def text(self) -> str:
        """The message and its hint as one string, for a person."""
        return f"{self.message} {self.hint}".strip()


class CallerError(FreeholdError):
    """The caller sent something that cannot be served; the caller can mend it."""

    status = 400


class PolicyRefusal(FreeholdError):
    """The configuration forbids this call; an administrator could allow it."""

    status = 403


class UpstreamError(FreeholdError):
    """A provider failed; another attempt may succeed. said: the status that it answered with, 0 if it gave none."""

    status = 502
    is_retryable = True
    said = 0


class OperatorError(FreeholdError):
    """Whoever runs Freehold has to mend the set-up (configuration, disk, ports)."""

    status = 503
    is_retryable = True


class Bug(FreeholdError):
    """Freehold itself is wrong."""
