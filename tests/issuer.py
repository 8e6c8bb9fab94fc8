"""A real OpenID Connect issuer (Canaille, on Authlib) in a process of its own: `python issuer.py PORT CLIENT_REDIRECT`. It keeps everything in memory."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener, urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

CLIENT, SECRET = "freehold", "client-secret-only-for-tests"
PEOPLE = {"ada": "platform", "bert": "support", "cleo": ""}  # and their groups


def password_of(name: str) -> str:
    return f"correct-horse-{name}"


class Issuer:
    """One issuer. Its people are `PEOPLE`; everybody may sign in to the client."""

    def __init__(self, folder: Path, port: int, redirect: str) -> None:
        self.port, self._out = port, folder / "issuer.txt"
        self.url = f"http://localhost:{port}"
        env = {**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"}
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(port), redirect], env=env, stdout=out, stderr=out
            )
        until = time.monotonic() + 30
        while True:
            try:
                with urlopen(f"{self.url}/.well-known/openid-configuration", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < until, self._out.read_text()
                assert self._process.poll() is None, self._out.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _Form(HTMLParser):
    """The fields of the last form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self.fields, self.action = {}, found.get("action") or ""
        elif tag in ("input", "button") and found.get("name"):
            self.fields.setdefault(str(found["name"]), found.get("value") or "")


class Browser:
    """A browser, as far as signing in needs one: it keeps cookies, follows redirects one by one, and fills in forms."""

    def __init__(self) -> None:
        self.cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies), _Stay)

    def ask(
        self, url: str, *, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        request = Request(url, body, headers or {}, method=method)
        try:
            with self._opener.open(request, timeout=20) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except HTTPError as refusal:
            with refusal:
                return refusal.code, {k.lower(): v for k, v in refusal.headers.items()}, refusal.read()

    def log_in(self, url: str, name: str, back: str) -> str:
        """Go from the issuer's page to where it sends the browser back to; returns that address, without going there."""
        status, headers, page = self.ask(url)
        for _ in range(12):
            if status in (301, 302, 303, 307):
                url = urljoin(url, headers["location"])
                if url.startswith(back):
                    return url
                status, headers, page = self.ask(url)
                continue
            form = _Form()
            form.feed(page.decode())
            values = {key: value for key, value in form.fields.items() if key != "answer"}
            values |= {key: found for key, found in (("login", name), ("password", password_of(name))) if key in values}
            if "answer" in form.fields:
                values["answer"] = "accept"
            url = urljoin(url, form.action)
            status, headers, page = self.ask(
                url, method="POST", body=urlencode(values).encode(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )  # fmt: skip
        raise AssertionError(f"never sent back: {status} {url}")


def exactly(backend: Any, models: Any) -> None:
    """Its store in memory takes whatever meets any of several conditions, so that any code of a client would do; real ones take what meets all."""
    loose = backend.do_query

    def query(model: Any, *args: Any, **wanted: Any) -> Any:
        found = loose(model, *args, **wanted)
        is_code = model is models.AuthorizationCode
        return [one for one in found if not is_code or one.code == wanted.get("code", one.code)]

    backend.do_query = query


def serve(port: int, redirect: str) -> None:
    from canaille import create_app
    from canaille.app import models
    from canaille.backends import Backend
    from joserfc.jwk import JWKRegistry

    key = JWKRegistry.generate_key("RSA", 2048)
    key.ensure_kid()
    config: dict[str, Any] = {
        "TESTING": True,
        "ENV_FILE": None,
        "SECRET_KEY": os.urandom(16).hex(),
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "http",
        "SERVER_NAME": f"localhost:{port}",
        "CANAILLE": {
            "DATABASE": "memory",
            "JAVASCRIPT": False,
            "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}},
            "LOGGING": {"version": 1, "formatters": {}},
        },
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }
    app = create_app(config)
    with app.app_context():
        backend = Backend.instance
        exactly(backend, models)
        users = {}
        for name in PEOPLE:
            users[name] = models.User(
                user_name=name, formatted_name=name.title(), given_name=name.title(), family_name="Example",
                emails=[f"{name.title()}@Example.com"], password=password_of(name),
            )  # fmt: skip
            backend.save(users[name])
        for group in filter(None, PEOPLE.values()):
            members = [users[name] for name, of in PEOPLE.items() if of == group]
            backend.save(models.Group(display_name=group, members=members))
        client = models.Client(
            client_id=CLIENT, client_secret=SECRET, client_name="Freehold", client_uri="http://localhost",
            redirect_uris=[redirect], grant_types=["authorization_code"], response_types=["code"],
            scope=["openid", "email", "profile", "groups"], token_endpoint_auth_method="client_secret_basic",
            client_id_issued_at=datetime.datetime.now(datetime.UTC),
        )  # fmt: skip
        backend.save(client)
        client.audience = [client]
        backend.save(client)

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    make_server("localhost", port, app, handler_class=Quiet).serve_forever(0.05)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
