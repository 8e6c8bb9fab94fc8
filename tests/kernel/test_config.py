"""Configuration: everything that is wrong is said at once, with the line, the reason and the mend."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import snapshot_of
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import Surroundings, load, read
from freehold.kernel.problems import ConfigError
from freehold.kernel.schema import json_schema
from freehold.upstream.rows import ROWS

RACK = '[providers.rack]\nbase_url = "http://10.0.0.5:8000/v1"\nzone = "inside"\n'


def test_an_empty_file_has_the_built_in_provider() -> None:
    snapshot = snapshot_of("")
    assert list(snapshot.providers) == ["builtin"]
    assert snapshot.providers["builtin"].zone_at(0) is Zone.INSIDE


@pytest.mark.parametrize(
    ("text", "line", "reason", "mend"),
    [
        pytest.param(
            "[providers.rack]\nbase_url = 'http://10.0.0.5/v1'\nzonne = 'inside'",
            3,
            "unknown key 'zonne'",
            "'zone'",
            id="unknown key",
        ),
        pytest.param("[provider.rack]\nx = 1", 1, "unknown table or key 'provider'", "'providers'", id="unknown table"),
        pytest.param(
            "[providers.nowhere]\nzone = 'outside'",
            1,
            "not a known provider and has no base_url",
            "add base_url",
            id="no address",
        ),
        pytest.param(
            "[providers.openai]\nkey = 'sk-live-abc'", 2, "a key must be a reference", "env:NAME", id="literal key"
        ),
        pytest.param(
            "[providers.openai]\nkey = 'env:NOT_SET'", 2, "NOT_SET is not set", "export NOT_SET", id="unset variable"
        ),
        pytest.param("[providers.openai]\nkey = 'file:nope'", 2, "cannot be read", "path", id="missing key file"),
        pytest.param(
            "[providers.x]\nbase_url = 'https://models.corp/v1'\nzone = 'inside'",
            3,
            "no proof of being inside",
            "addresses",
            id="host name inside",
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'https://models.corp/v1'\nzone = 'inside'\naddresses = ['ten']",
            4,
            "not a network",
            "CIDR",
            id="bad network",
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'https://a.b/v1'\nzone = 'attested'",
            3,
            "needs an attestation",
            "attestation =",
            id="attested without",
        ),
        pytest.param("[providers.x]\nbase_url = 'http://a.b/v1'", 2, "plain text", "https", id="plain text outside"),
        pytest.param("[providers.x]\nbase_url = 'ftp://a.b/v1'", 2, "must be http(s)", "https://", id="scheme"),
        pytest.param(
            "[providers.x]\nbase_url = 'https://user:pw@a.b/v1'",
            2,
            "without user",
            "https://",
            id="user in the address",
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'http://169.254.169.254/v1'",
            2,
            "link-local, metadata",
            "own address",
            id="metadata",
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'http://[::ffff:169.254.169.254]/v1'",
            2,
            "link-local, metadata",
            "own address",
            id="metadata as IPv6",
        ),
        *(
            pytest.param(
                f"[providers.x]\nbase_url = 'http://{host}/v1'", 2, "link-local, metadata", "own address", id=host
            )
            for host in (
                "255.255.255.255",
                "[64:ff9b::a9fe:a9fe]",
                "[64:ff9b:1::a9fe:a9fe]",
                "[64:ff9b:1:a9fe:a9:fe00::]",
                "[2001:0:1:2:3:4:5601:5601]",
                "[::ffff:0:a9fe:a9fe]",
                "[2002:a9fe:a9fe::]",
            )
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'http://2852039166/v1'",
            2,
            "unusual spelling",
            "four plain numbers",
            id="metadata as one number",
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'http://0xa9fea9fe/v1'",
            2,
            "unusual spelling",
            "four plain numbers",
            id="metadata as hexadecimal",
        ),
        pytest.param(
            "[providers.x]\nbase_url = 'http://0.0.0.0/v1'", 2, "unspecified", "own address", id="unspecified"
        ),
        pytest.param(
            "[providers.builtin]\nbase_url = 'http://127.0.0.1/v1'",
            1,
            "cannot be a provider's name",
            "[engine]",
            id="builtin is taken",
        ),
        pytest.param(
            "[workloads.w]\ntargets = ['rak/m']\n" + RACK,
            2,
            "'rak', which is not configured",
            "'rack'",
            id="unknown provider",
        ),
        pytest.param(
            "[workloads.w]\ntargets = ['rack']\n" + RACK, 2, "not a target", "provider/model", id="not a target"
        ),
        pytest.param("[workloads.w]\ntargets = []", 2, "empty list", "at least one", id="no targets"),
        pytest.param(
            "[workloads.w]\nclass = 'restricted'",
            1,
            "missing required field `targets`",
            "add targets",
            id="targets missing",
        ),
        pytest.param("[workloads.w]\ntargets = ['rack/m', 'rack/m']\n" + RACK, 2, "twice", "once", id="target twice"),
        pytest.param(
            "[workloads.w]\ntargets = ['rack/m']\nclass = 'secret'\n" + RACK,
            3,
            "invalid enum value 'secret'",
            "reference",
            id="unknown class",
        ),
        pytest.param(
            "[workloads.w]\ntargets = ['rack/m']\nbudget = '20 EUR/month'\n" + RACK,
            3,
            "not a budget",
            "USD/month",
            id="bad budget",
        ),
        pytest.param(
            "[workloads.w]\ntargets = ['builtin/hart']",
            2,
            "does not list a model 'hart'",
            "'hearth'",
            id="unknown model",
        ),
        pytest.param(
            "[classes]\nrestricted = ['inside', 'outside']",
            2,
            "restricted may go to outside but the less sensitive confidential may not",
            "remove outside",
            id="not monotonic",
        ),
        pytest.param("[classes]\nrestricted = []", 2, "allows no zone at all", "inside", id="no zone"),
        pytest.param("[classes]\npublic = ['everywhere']", 2, "'everywhere'", "inside", id="unknown zone"),
        pytest.param("[server]\nmax_body_bytes = 0", 2, "server.max_body_bytes", "reference", id="zero limit"),
        pytest.param("[network]\nca_bundle = 'nope.pem'", 2, "not a file", "PEM", id="missing CA bundle"),
        pytest.param("x = ", 1, "not valid TOML", "toml.io", id="not TOML"),
    ],
)
def test_a_problem_names_line_reason_and_mend(text: str, line: int, reason: str, mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        snapshot_of(text)
    problem = caught.value.problems[0]
    assert reason in problem.reason
    assert mend in problem.mend
    assert problem.line == line


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        snapshot_of("[providers.a]\nzone = 'x'\n[providers.b]\nkey = 'literal'\n[classes]\nrestricted = []\n")
    assert len(caught.value.problems) == 3


def test_a_literal_key_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        snapshot_of("[providers.openai]\nkey = 'sk-live-very-secret'")
    assert "sk-live-very-secret" not in str(caught.value)


def test_a_secret_prints_as_its_reference() -> None:
    snapshot = snapshot_of("[providers.openai]\nkey = 'env:K'", K="sk-1")
    assert snapshot.providers["openai"].key is not None
    assert snapshot.providers["openai"].key.value == "sk-1"
    assert "sk-1" not in repr(snapshot)


def test_what_is_not_known_to_be_inside_is_outside() -> None:
    """Even on loopback: something there may well send everything out."""
    assert snapshot_of("[providers.x]\nbase_url = 'http://127.0.0.1:9/v1'").providers["x"].zone_at(0) is Zone.OUTSIDE


def test_an_expired_agreement_leaves_a_provider_outside() -> None:
    text = (
        "[providers.x]\nbase_url = 'https://a.b/v1'\nzone = 'attested'\nattestation = { control = 'zero-retention', endpoint = 'https://a.b/v1', evidence = 'sha256:"
        + "0" * 64
        + "', expires = 2027-06-30 }"
    )
    provider = snapshot_of(text).providers["x"]
    last_moment = 1814400000 - 1  # 2027-06-30T23:59:59Z
    assert provider.zone_at(last_moment) is Zone.ATTESTED
    assert provider.zone_at(last_moment + 1) is Zone.OUTSIDE


def test_prices_are_exact() -> None:
    price = (
        snapshot_of(RACK + "prices = { m = { input = 0.1, output = 0.30000000000000004 } }")
        .providers["rack"]
        .prices["m"]
    )
    assert (price.input, price.output) == (Decimal("0.1"), Decimal("0.30000000000000004"))


def test_classes_may_be_widened_only_in_order() -> None:
    assert snapshot_of("[classes]\nconfidential = ['inside']").zones[Class.CONFIDENTIAL] == {Zone.INSIDE}


def test_the_digest_names_the_policy() -> None:
    assert snapshot_of("# a comment").digest == snapshot_of("").digest != snapshot_of(RACK).digest


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "freehold.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UnicodeDecodeError"):
        load(tmp_path / "freehold.toml", Surroundings({}, ROWS))


@given(st.text(max_size=300))
def test_any_text_is_read_or_explained(text: str) -> None:
    try:
        read(text, Surroundings({}, ROWS))
    except ConfigError as error:
        assert error.problems


def test_the_schema_lists_every_table() -> None:
    schema = json_schema()
    assert set(schema["$defs"]["Config"]["properties"]) == {
        "classes",
        "providers",
        "nodes",
        "sign_in",
        "machines",
        "vault",
        "telemetry",
        "organisation",
        "departments",
        "workloads",
        "server",
        "network",
        "engine",
        "detection",
    }
    assert schema["$defs"]["Provider"]["additionalProperties"] is False


NODES = '[nodes]\npostgres = "env:DB"\nsecret = "env:SECRET"\n'


@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param("mysql://h/d", "does not hold an address of Postgres", id="another database"),
        pytest.param("postgres://u:ab/cd@10.0.0.5/d?sslmode=disable", "that can be read", id="slash"),
        pytest.param("postgres://u:ab#cd@10.0.0.5/d?sslmode=disable", "that can be read", id="hash"),
        pytest.param("postgres://u:ab?cd@10.0.0.5/d?sslmode=disable", "that can be read", id="question mark"),
        pytest.param("postgres://u:p@10.0.0.5", "that can be read", id="no database"),
        pytest.param("postgres://u:p@10.0.0.5/d", "shown the password", id="nothing said"),
        pytest.param("postgres://u:p@db.example.com/d?sslmode=prefer", "shown the password", id="prefer"),
        pytest.param("postgres://u:p@db.example.com/d?sslmode=require", "shown the password", id="unchecked"),
    ],
)
def test_a_database_is_reached_by_a_way_that_keeps_its_password(address: str, why: str) -> None:
    """Encrypted is not enough: whoever takes the connection would be shown the password."""
    with pytest.raises(ConfigError) as wrong:
        snapshot_of(NODES, DB=address, SECRET="s" * 32)
    assert why in wrong.value.message
    assert not [part for part in ("ab/", "ab#", "ab?", ":p@", "cd@") if part in wrong.value.message]


@pytest.mark.parametrize(
    "address",
    [
        "postgres://u:p@localhost/d",
        "postgresql://u:a%2Fb@127.0.0.1:5433/d",
        "postgres://u@/d?host=/run/postgresql",
        "postgres://u:p@db.example.com/d?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgres://u:p@10.0.0.5/d?sslmode=disable",
    ],
)
def test_ways_to_a_database_that_will_do(address: str) -> None:
    nodes = snapshot_of(NODES, DB=address, SECRET="s" * 32).nodes
    assert nodes is not None
    assert (nodes.database.value, nodes.copy_s) == (address, 86_400.0)
