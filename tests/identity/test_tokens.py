"""Signed tokens: the good ones count, and every known way to forge one does not."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge import AUDIENCE, ISSUER, Forge, jwks, raw
from freehold.identity.tokens import LEEWAY_S, LONGEST, Signers, UnknownSigner, check, issuer_in, looks_signed
from freehold.kernel.errors import CallerError, UpstreamError

FORGE = Forge()
SIGNERS = Signers(jwks(FORGE.jwk()))


def claims_of(token: str, signers: Signers = SIGNERS, **more: Any) -> Any:
    return check(token, signers, issuer=ISSUER, audience=AUDIENCE, **more)


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed"])
def test_a_token_of_each_kind_of_key_counts(kind: str) -> None:
    forge = Forge(kind)
    assert claims_of(forge.token(), Signers(jwks(forge.jwk())))["sub"] == "bot"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS512"])
def test_a_key_that_names_no_algorithm_signs_with_any_of_its_kind(algorithm: str) -> None:
    assert claims_of(FORGE.token(algorithm=algorithm))["sub"] == "bot"
    named = Signers(jwks(FORGE.jwk(alg="RS256")))
    if algorithm != "RS256":
        with pytest.raises(UnknownSigner):
            claims_of(FORGE.token(algorithm=algorithm), named)


def test_a_token_for_several_counts_for_each_of_them() -> None:
    assert claims_of(FORGE.token(aud=["account", AUDIENCE]))["sub"] == "bot"


def test_the_only_key_checks_a_token_that_names_none() -> None:
    nameless = Forge(kid=None)
    assert claims_of(nameless.token(), Signers(jwks(nameless.jwk())))["sub"] == "bot"
    with pytest.raises(UnknownSigner):
        claims_of(nameless.token(), Signers(jwks(FORGE.jwk(), Forge("ec", kid="k2").jwk())))


NOW = int(time.time())
HEADER = {"alg": "RS256", "typ": "JWT", "kid": "k1"}
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bot", "iat": NOW, "exp": NOW + 3_600}


def with_hmac(secret: bytes, alg: str = "HS256") -> str:
    """Signed with what everybody knows, as if it were a shared secret."""
    start = raw({**HEADER, "alg": alg}, CLAIMS, b"").rpartition(".")[0]
    return raw({**HEADER, "alg": alg}, CLAIMS, hmac.digest(secret, start.encode(), hashlib.sha256))


FORGED = {
    "no signature": raw({**HEADER, "alg": "none"}, CLAIMS, b""),
    "no signature, in capitals": raw({**HEADER, "alg": "NonE"}, CLAIMS, b""),
    "no algorithm": raw({"typ": "JWT", "kid": "k1"}, CLAIMS, b"x"),
    "an algorithm that is a list": raw({**HEADER, "alg": ["RS256"]}, CLAIMS, b"x"),
    "an empty signature": FORGE.token().rpartition(".")[0] + ".",
    "the public key as a shared secret": with_hmac(FORGE.pem()),
    "the public key's modulus as a shared secret": with_hmac(FORGE.jwk()["n"].encode()),
    "an empty shared secret": with_hmac(b""),
    "another's key under this id": Forge("other").token(),
    "another's key in the header": Forge("other").token({"jwk": Forge("other").jwk()}),
    "another's address in the header": Forge("other").token({"jku": "https://evil.example.com/jwks", "x5u": "https://evil.example.com"}),
    "an id that is a path": FORGE.token({"kid": "../../../../dev/null"}),
    "an id that is SQL": FORGE.token({"kid": "k1' or '1'='1"}),
    "an id that is none": FORGE.token({"kid": ""}),
    "an elliptic key's algorithm": raw({**HEADER, "alg": "ES256"}, CLAIMS, b"\0" * 64),
    "something critical": FORGE.token({"crit": ["exp"]}),
    "an unencoded body": FORGE.token({"b64": False, "crit": ["b64"]}),
    "changed claims": FORGE.token().split(".")[0] + "." + raw({}, {**CLAIMS, "sub": "root"}, b"").split(".")[1] + "." + FORGE.token().split(".")[2],
    "expired": FORGE.token(exp=NOW - LEEWAY_S - 5),
    "no end": FORGE.token(exp=None),
    "an end that is text": FORGE.token(exp=str(NOW + 600)),
    "an end that is never": raw(HEADER, json.dumps(CLAIMS).replace(str(NOW + 3_600), "Infinity").encode(), b"x"),
    "an end that is true": FORGE.token(exp=True),
    "not yet": FORGE.token(nbf=NOW + 600),
    "made later": FORGE.token(iat=NOW + 600),
    "another issuer": FORGE.token(iss="https://evil.example.com"),
    "another spelling of the issuer": FORGE.token(iss=ISSUER + "/"),
    "issuers": FORGE.token(iss=[ISSUER]),
    "no issuer": FORGE.token(iss=None),
    "another audience": FORGE.token(aud="somebody"),
    "audiences of others": FORGE.token(aud=["somebody", "freeholder"]),
    "a part of the audience": FORGE.token(aud="free"),
    "no audience": FORGE.token(aud=None),
    "an audience that is a number": FORGE.token(aud=[5]),
    "claims that are a list": raw(HEADER, b"[]", b"x"),
    "no claims": raw(HEADER, b"", b"x"),
    "no token": "eyJ.eyJ.x",
    "a token that is long": FORGE.token(more="x" * LONGEST),
    "more than three parts": FORGE.token() + ".x",
    "spaces": " " + FORGE.token(),
}  # fmt: skip


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_refused(token: str) -> None:
    with pytest.raises(CallerError) as refusal:
        claims_of(token)
    assert (refusal.value.status, refusal.value.code) == (401, "auth.token")
    assert not any(part in refusal.value.text for part in token.split(".") if len(part) > 8)
    assert "evil" not in refusal.value.text


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}, id="shared secret"),
        pytest.param(FORGE.jwk(use="enc"), id="for encryption"),
        pytest.param(FORGE.jwk() | {"key_ops": ["encrypt"]}, id="operations"),
        pytest.param(FORGE.jwk(alg="HS256"), id="a public key that says it is a secret"),
        pytest.param(FORGE.jwk() | {"n": "!"}, id="broken"),
        pytest.param({"kid": "k1"}, id="no kind"),
        pytest.param({"kty": "RSA", "kid": "k1"}, id="empty"),
        pytest.param(Forge("ec").jwk() | {"crv": "secp256k1"}, id="curve"),
    ],
)
def test_a_set_with_a_key_that_cannot_sign_is_a_set_without_it(key: dict[str, Any]) -> None:
    with pytest.raises(UnknownSigner):
        claims_of(FORGE.token(), Signers(jwks(key)))


def test_a_weak_key_signs_nothing() -> None:
    weak = Forge("weak")
    with pytest.raises(UnknownSigner):
        claims_of(weak.token(), Signers(jwks(weak.jwk())))


def test_of_two_keys_of_one_id_the_first_counts() -> None:
    other = Forge("other")
    assert claims_of(FORGE.token(), Signers(jwks(FORGE.jwk(), other.jwk())))
    with pytest.raises(CallerError):
        claims_of(other.token(), Signers(jwks(FORGE.jwk(), other.jwk())))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": ["x"]}', b"\xff", b"<html>"])
def test_a_set_that_cannot_be_read_is_said(body: bytes) -> None:
    with pytest.raises(UpstreamError) as error:
        Signers(body)
    assert error.value.code == "auth.issuer"


def test_whoever_signs_in_repeats_the_nonce_and_is_ours() -> None:
    assert claims_of(FORGE.token(nonce="n"), nonce="n")
    for claims in ({}, {"nonce": "m"}, {"nonce": "n", "azp": "somebody"}, {"nonce": ["n"]}):
        with pytest.raises(CallerError):
            claims_of(FORGE.token(**claims), nonce="n")


def test_a_machine_may_have_been_authorised_for_another_party() -> None:
    """`azp` names the client that asked, which for a machine's access token is the machine."""
    assert claims_of(FORGE.token(azp="ci-bot"))["azp"] == "ci-bot"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda one: raw(HEADER, one, one)))
def test_any_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(CallerError):
        claims_of(text)
    if looks_signed(text):
        with pytest.raises(CallerError):
            issuer_in(text)


def test_freeholds_own_keys_are_no_tokens() -> None:
    assert not looks_signed("fh-abcdefgh.ijkl.mnop")
    assert looks_signed(FORGE.token())
