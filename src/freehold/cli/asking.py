"""Make an evaluation's calls through a running Freehold: each is a call like any other, with a ruling, a budget and a receipt."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass

from freehold.cli.client import error_of_body, request
from freehold.evals.answers import Asked, Replied
from freehold.kernel.errors import CallerError, FreeholdError, OperatorError

TRIES = 6
_LATE = "cli.timeout"
_AGAIN = (429, 500, 502, 503, 504)
_LONGEST_S = 30.0


@dataclass(frozen=True)
class Asker:
    """Asks a Freehold with one key. Any thread may call it."""

    url: str
    key: str
    timeout_s: float = 600.0  # of a call

    def __call__(self, asked: Asked) -> Replied:
        """Ask, again where it may work the next time; what every try cost is counted, how long the last one took is told. Never raises for what a call does."""
        usd = 0.0
        for attempt in range(TRIES):
            began = time.monotonic()
            try:
                replied, wait_s = self._once(asked)
            except OperatorError as error:
                replied, wait_s = Replied(0, "", error.code), None
            except CallerError as error:
                return Replied(0, "", error.code)
            seconds, usd = time.monotonic() - began, usd + (replied.cost_usd or 0.0)
            if (
                replied.status not in (*_AGAIN, 0)
                or replied.code in ("budget.exhausted", _LATE)
                or attempt == TRIES - 1
            ):
                break
            time.sleep(min(_LONGEST_S, wait_s if wait_s is not None else 0.25 * 2**attempt))
        known = replied.cost_usd is not None or replied.status != 200
        return Replied(replied.status, replied.body, replied.code, replied.call, replied.target, replied.class_, usd if known else None, seconds)  # fmt: skip

    def _once(self, asked: Asked) -> tuple[Replied, float | None]:
        """One try, and how long to wait until the next."""
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.key}",
            "x-freehold-no-fallback": "true",
            "x-freehold-no-capture": "true",  # what an evaluation asks is no traffic
        }
        if asked.class_:
            headers["x-freehold-class"] = asked.class_
        began = time.monotonic()
        try:
            connection, answer = request(
                self.url, "POST", asked.path, json.dumps(asked.body), headers, timeout_s=self.timeout_s
            )
        except OperatorError:
            if time.monotonic() - began >= self.timeout_s * 0.99:  # it answers, but not in time
                return Replied(0, "", _LATE), None
            raise
        try:
            body = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return Replied(0, "", _LATE if isinstance(error, TimeoutError) else "cli.cut"), None
        finally:
            connection.close()
        head = {name.lower(): value for name, value in answer.getheaders()}
        code = ""
        if answer.status != 200:
            try:
                code = error_of_body(answer.status, body.encode())["code"] or ""
            except FreeholdError as error:
                code = error.code
        cost = head.get("x-freehold-cost-usd")
        wait = head.get("retry-after", "")
        return Replied(
            answer.status,
            body if answer.status == 200 else "",
            code,
            head.get("x-freehold-call-id", ""),
            head.get("x-freehold-target", ""),
            head.get("x-freehold-class", ""),
            _number(cost),
        ), float(wait) if wait.isdecimal() else None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:  # "unknown"
        return None
