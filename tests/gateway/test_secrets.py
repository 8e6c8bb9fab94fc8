"""Secrets by reference: what a vault keeps and what a command prints, and that neither is shown when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import NO_ENGINE, Freehold, clean_env, free_port
from flow.test_workers import ask
from freehold.cli.setting import surroundings
from freehold.kernel.config import read
from freehold.kernel.problems import ConfigError
from freehold.testing.standin import Standin

TOKEN = "hvs.only-for-tests"


class Kept(ThreadingHTTPServer):
    """What Vault's KV version 2 answers (no Vault can be had on the machines that run the suite; the shapes are those of its API's documentation)."""

    def __init__(self) -> None:
        self.secrets: dict[str, object] = {"/v1/secret/data/freehold": {"openai": "sk-from-the-vault", "number": 5}}
        self.seen: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", free_port()), _Vault)


class _Vault(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Kept)
        server.seen.append((self.path, self.headers["X-Vault-Namespace"]))
        status, told = 200, {"data": {"data": server.secrets.get(self.path), "metadata": {"version": 1}}}
        if self.headers["X-Vault-Token"] != TOKEN:
            status, told = 403, {"errors": ["permission denied"]}
        elif self.path not in server.secrets:
            status, told = 404, {"errors": []}
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)  # given back afterwards, whatever a test sets


@pytest.fixture
def vault() -> Iterator[Kept]:
    server = Kept()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def key_of(reference: str, vault: Kept | None = None, **table: str) -> str:
    """What a provider's key is, by this reference."""
    os.environ["VAULT_TOKEN"] = table.pop("opens", TOKEN)
    port = vault.server_port if vault is not None else 1
    told = "".join(f'{name} = "{value}"\n' for name, value in table.items())
    text = f'[vault]\naddress = "http://127.0.0.1:{port}"\n{told}[providers.openai]\nkey = {json.dumps(reference)}\n'
    key = read(text, surroundings()).providers["openai"].key
    assert key is not None
    assert repr(key) == f"Secret({reference})"
    return key.value


@pytest.mark.parametrize(
    "reference", ["vault:secret/freehold#openai", "vault:secret/data/freehold#openai", "vault:/secret/freehold/#openai"]
)
def test_a_vault_is_asked(vault: Kept, reference: str) -> None:
    assert key_of(reference, vault) == "sk-from-the-vault"
    assert vault.seen == [("/v1/secret/data/freehold", None)]


def test_a_vault_has_namespaces(vault: Kept) -> None:
    key_of("vault:secret/freehold#openai", vault, namespace="team/a")
    assert vault.seen[0][1] == "team/a"


def refused(reference: str, vault: Kept | None = None, **table: str) -> str:
    with pytest.raises(ConfigError) as wrong:
        key_of(reference, vault, **table)
    words = wrong.value.message
    assert "line" in words
    assert "sk-from" not in words
    assert TOKEN not in words
    return words


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        pytest.param("vault:secret/freehold#anthropic", "has no field 'anthropic'", id="field"),
        pytest.param("vault:secret/freehold#number", "is no text", id="not text"),
        pytest.param("vault:secret/nothing#openai", "answers 404", id="path"),
        pytest.param("vault:secret/freehold", "names no field", id="no field"),
        pytest.param("vault:secret#openai", "names no field", id="no path"),
        pytest.param("vault:../sys/seal#openai", "answers 404", id="path that climbs"),
    ],
)
def test_what_a_vault_does_not_have_is_said(vault: Kept, reference: str, why: str) -> None:
    assert why in refused(reference, vault)


def test_a_vault_that_does_not_open_or_answer_is_said(vault: Kept) -> None:
    assert "may not read that" in refused("vault:secret/freehold#openai", vault, opens="another")
    assert "upstream.unreachable" in refused("vault:secret/freehold#openai")
    vault.secrets["/v1/secret/data/freehold"] = ["no", "secret"]
    assert "no secret of the engine KV version 2" in refused("vault:secret/freehold#openai", vault)


def test_a_vault_is_never_asked_in_plain_text() -> None:
    text = '[vault]\naddress = "http://vault.example.com"\n[providers.openai]\nkey = "vault:a/b#c"\n'
    with pytest.raises(ConfigError, match="plain text"):
        read(text, surroundings())


def test_a_token_may_be_a_file_that_an_agent_keeps(vault: Kept, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert key_of("vault:secret/freehold#openai", vault, token=f"file:{tmp_path / 'token'}") == "sk-from-the-vault"


def test_what_a_command_prints(tmp_path: Path) -> None:
    assert key_of("command:printf %s sk-printed") == "sk-printed"
    assert key_of("command:echo '$HOME;id'") == "$HOME;id", "no shell reads it"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param("false", "ended with 1", id="failed"),
        pytest.param("sh -c 'echo sk-from-nowhere >&2; exit 3'", "ended with 3", id="said something"),
        pytest.param("/nowhere/pass show openai", "FileNotFoundError", id="missing"),
        pytest.param("echo 'sk-", "ValueError", id="quote"),
        pytest.param(" ", "IndexError", id="empty"),
        pytest.param("true", "does not hold a usable key", id="prints nothing"),
        pytest.param("printf '\\377\\376'", "UnicodeDecodeError", id="no text"),
    ],
)
def test_a_command_that_does_not_work_is_said(line: str, why: str) -> None:
    assert why in refused(f"command:{line}")


def test_a_reload_looks_again(vault: Kept, inside: Standin, tmp_path: Path) -> None:
    """A secret that was exchanged in the vault holds after a reload, with the same file."""
    text = f'[vault]\naddress = "http://127.0.0.1:{vault.server_port}"\n[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nkey = "vault:secret/freehold#openai"\n'
    (tmp_path / "freehold.toml").write_text(NO_ENGINE + text)
    freehold = Freehold(tmp_path, clean_env(VAULT_TOKEN=TOKEN)).start()
    try:
        key = freehold.key()
        body = {"model": "rack/m", "messages": [{"role": "user", "content": "x"}]}
        assert ask(freehold, key, body=body)[0] == 200
        vault.secrets["/v1/secret/data/freehold"] = {"openai": "sk-the-next-one"}
        assert freehold.process is not None
        freehold.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 10
        while True:
            assert ask(freehold, key, body=body)[0] == 200
            if inside.requests[-1].headers["authorization"] == "Bearer sk-the-next-one":
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        assert inside.requests[0].headers["authorization"] == "Bearer sk-from-the-vault"
        assert "sk-" not in freehold.output
    finally:
        freehold.stop()
