"""Who we are, to each cloud: AWS signatures checked against botocore's own verification of the same request, Google tokens against the key's public half."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from conftest import snapshot_of
from freehold.kernel.classes import Class
from freehold.kernel.config import Surroundings, read
from freehold.kernel.problems import ConfigError
from freehold.kernel.snapshot import Target
from freehold.perimeter.ruling import Declared, Moment, grant, rule
from freehold.testing.standin import Standin
from freehold.upstream.rows import ROWS
from freehold.upstream.signing import Signer, key_headers
from freehold.upstream.transport import HttpTransport, Request

AWS = """
[providers.bedrock]
region = "eu-central-1"
credentials = { access_key = "env:AWS_ACCESS_KEY_ID", secret_key = "env:AWS_SECRET_ACCESS_KEY", session_token = "env:AWS_SESSION_TOKEN" }
"""
ENV = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret", "AWS_SESSION_TOKEN": "token"}


def test_bedrock_requests_are_signed() -> None:
    """The signature is what botocore computes for the same bytes at the same time; the model's name is escaped once."""
    provider = snapshot_of(AWS, **ENV).providers["bedrock"]
    assert provider.base_url == "https://bedrock-runtime.eu-central-1.amazonaws.com"
    url = f"{provider.base_url}/{provider.routes[0].path_for('', 'eu.amazon.nova-lite-v1:0', is_stream=False)}"
    assert url.endswith("/model/eu.amazon.nova-lite-v1%3A0/converse")
    signed = dict(Signer(provider).headers("POST", url, b'{"messages": []}'))
    again = AWSRequest("POST", url, data=b'{"messages": []}', headers={"Content-Type": "application/json"})
    again.context["timestamp"] = signed["X-Amz-Date"]
    again.headers["X-Amz-Date"] = signed["X-Amz-Date"]
    again.headers["X-Amz-Security-Token"] = "token"
    auth = SigV4Auth(
        Credentials(ENV["AWS_ACCESS_KEY_ID"], ENV["AWS_SECRET_ACCESS_KEY"], "token"), "bedrock", "eu-central-1"
    )
    signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert signed["Authorization"].endswith(f"Signature={signature}")
    assert "not-a-real-secret" not in str(signed)


async def test_what_is_signed_is_what_is_sent(tmp_path: Path) -> None:
    with Standin() as cloud:
        text = AWS + f'base_url = "{cloud.base_url}"\nzone = "inside"\n'
        snapshot = snapshot_of(text, **ENV)
        provider, target = snapshot.providers["bedrock"], Target("bedrock", "m")
        body = b'{"messages": [{"content": [{"text": "x"}]}]}'
        ruling = rule(Declared(key=Class.PUBLIC), snapshot)
        permit = grant(
            ruling, provider, target, call=("call_x", 1), body=body, at=Moment(time.time(), time.monotonic())
        )
        transport = HttpTransport()
        response = await transport.send(permit, Request("POST", "model/m/converse", body))
        await response.whole()
        response.finish()
        await transport.close()
        sent = cloud.requests[0]
        assert sent.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert sent.headers["x-amz-security-token"] == "token"
        assert sent.body == body


@pytest.mark.parametrize(
    ("region", "host", "geo"),
    [
        ("europe-west4", "europe-west4-aiplatform.googleapis.com", "regional"),
        ("eu", "aiplatform.eu.rep.googleapis.com", "regional"),
        ("us", "aiplatform.us.rep.googleapis.com", "regional"),
        ("global", "aiplatform.googleapis.com", ""),
    ],
)
def test_a_vertex_region_has_its_own_host_and_price(region: str, host: str, geo: str, tmp_path: Path) -> None:
    text = f'[providers.vertex]\nregion = "{region}"\nproject = "acme"\n'
    base_url = read(text, Surroundings({}, ROWS, folder=tmp_path)).providers["vertex"].base_url
    assert base_url == f"https://{host}/v1/projects/acme/locations/{region}"
    assert ROWS["vertex"].geo_at(host) == geo


def test_vertex_signs_its_own_tokens(tmp_path: Path) -> None:
    """A service account's token is made here, for the cloud's scope; nobody is asked for it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "client_email": "freehold@example.iam",
        "private_key": pem,
        "private_key_id": "k",
        "token_uri": "https://token.example",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    text = '[providers.vertex]\nregion = "europe-west4"\nproject = "acme"\ncredentials = { service_account = "file:account.json" }\n'
    provider = read(text, Surroundings({}, ROWS, folder=tmp_path)).providers["vertex"]
    assert provider.base_url == "https://europe-west4-aiplatform.googleapis.com/v1/projects/acme/locations/europe-west4"
    token = Signer(provider).headers("POST", provider.base_url, b"")["Authorization"].removeprefix("Bearer ")
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = jwt.decode(token, certs=public, verify=True)
    assert claims["iss"] == "freehold@example.iam"
    assert "cloud-platform" in claims["scope"]
    paths = {
        model: provider.routes_to(model)[0].path_for("generateContent", model, is_stream=False)
        for model in ("claude-opus-4-1", "gemini-2.5-flash")
    }
    assert paths == {
        "claude-opus-4-1": "publishers/anthropic/models/claude-opus-4-1:rawPredict",
        "gemini-2.5-flash": "publishers/google/models/gemini-2.5-flash:generateContent",
    }
    assert (
        provider.routes_to("meta/llama-4")[0].path_for("chat/completions", "meta/llama-4", is_stream=False)
        == "endpoints/openapi/chat/completions"
    )


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ("bearer", "Authorization"),
        ("x-api-key", "x-api-key"),
        ("x-goog-api-key", "x-goog-api-key"),
        ("api-key", "api-key"),
    ],
)
def test_keys_go_into_the_header_of_the_dialect(auth: Any, header: str) -> None:
    provider = snapshot_of('[providers.openai]\nkey = "env:OPENAI_API_KEY"\n', OPENAI_API_KEY="sk-x").providers[
        "openai"
    ]
    assert list(key_headers(provider, auth)) == [header]


BEDROCK = '[providers.bedrock]\nregion = "eu-central-1"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('[providers.bedrock]\nkey = "env:A"\n', "needs a region", id="no region"),
        pytest.param(
            '[providers.bedrock]\nbase_url = "https://x.example"\ncredentials = { access_key = "env:A", secret_key = "env:A" }\n',
            "names its region",
            id="a signature without a region",
        ),
        pytest.param(
            BEDROCK + 'credentials = { access_key = "env:A" }\n', "secret_key is needed too", id="half a pair"
        ),
        pytest.param(BEDROCK + 'credentials = { acess_key = "env:A" }\n', "acess_key", id="a part misspelt"),
        pytest.param(
            BEDROCK + 'credentials = { service_account = "env:A" }\n', "signs in another way", id="the other cloud's"
        ),
        pytest.param(
            BEDROCK + 'key = "env:A"\ncredentials = { access_key = "env:A", secret_key = "env:A" }\n',
            "keep one",
            id="key and credentials",
        ),
        pytest.param(
            '[providers.openai]\ncredentials = { access_key = "env:A", secret_key = "env:A" }\n',
            "signs nothing",
            id="credentials where a key is needed",
        ),
        pytest.param(
            '[providers.openai]\nkey = "env:A"\nregion = "eu"\n', "no use for it", id="a region that changes nothing"
        ),
        pytest.param(
            '[providers.azure]\nkey = "env:A"\nresource = "acme"\nbase_url = "https://x.example"\n',
            "the whole address",
            id="a resource beside an address",
        ),
        pytest.param(
            '[providers.groq]\nkey = "env:A"\napi_version = "2024"\n', "belongs to Azure", id="a version elsewhere"
        ),
        pytest.param(
            '[providers.azure]\nkey = "env:A"\nresource = "evil.example/x#"\n',
            "needs a resource",
            id="a resource that is a host",
        ),
        pytest.param(
            '[providers.rack]\nlike = "vlm"\nbase_url = "http://127.0.0.1:1/v1"\n',
            "did you mean 'vllm'",
            id="like nobody",
        ),
        pytest.param(
            '[providers.rack]\ndialect = "soap"\nbase_url = "http://127.0.0.1:1/v1"\n', "dialect", id="no such dialect"
        ),
    ],
)
def test_what_an_address_needs(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        snapshot_of(text, A="x")


def test_azure_has_two_interfaces() -> None:
    new = snapshot_of('[providers.azure]\nkey = "env:A"\nresource = "acme"\n', A="x").providers["azure"]
    assert (new.base_url, new.auth) == ("https://acme.openai.azure.com/openai/v1", "api-key")
    old = snapshot_of(
        '[providers.azure]\nkey = "env:A"\nresource = "acme"\napi_version = "2024-10-21"\n', A="x"
    ).providers["azure"]
    assert [route.path_for("chat/completions", "my model", is_stream=True) for route in old.routes] == [
        "/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"
    ]


def test_a_provider_like_another_has_its_ways() -> None:
    rack = snapshot_of(
        '[providers.rack]\nlike = "vllm"\nbase_url = "http://127.0.0.1:1/v1"\nzone = "inside"\n'
    ).providers["rack"]
    assert rack.routes[0].traits.effort == "template"
    both = snapshot_of(
        '[providers.rack]\ndialect = ["openai-chat", "anthropic-messages"]\nbase_url = "http://127.0.0.1:1/v1"\n'
    ).providers["rack"]
    assert [route.dialect for route in both.routes] == ["openai-chat", "anthropic-messages"]
