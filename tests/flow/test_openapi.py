"""The description that Freehold serves of itself, checked against what it does: thousands of odd requests, none of which may be a bug."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import NO_ENGINE, Freehold, running
from freehold.gateway import data_app
from freehold.gateway.openapi import describe
from freehold.testing.standin import Standin

load_all_checks()


@pytest.fixture(scope="module")
def freehold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    with Standin() as rack:
        text = f'[providers.rack]\ndialect = "bedrock-converse"\nbase_url = "{rack.base_url}"\nzone = "inside"\nretries = 0\n[workloads.w]\ntargets = ["rack/m"]\n'
        with running(tmp_path_factory.mktemp("openapi"), NO_ENGINE + text) as one:
            yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--workload", "w")


schema = schemathesis.openapi.from_dict(describe(data_app.ROUTES, data_app.VERBS))


@schema.parametrize()
@settings(
    max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
)
def test_every_answer_is_one_that_was_described(case: Any, freehold: Freehold, key: str) -> None:
    """A key that is bound to a workload takes any model's name, so that odd bodies reach the translation behind it."""
    headers = {"authorization": f"Bearer {key}", "x-api-key": key, "x-goog-api-key": key}
    where = f"http://127.0.0.1:{freehold.port}"
    answer = case.call(base_url=where, headers={**(case.headers or {}), **headers})
    assert answer.status_code != 500, answer.text
    case.validate_response(
        answer, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
    )


def test_every_route_is_described(freehold: Freehold) -> None:
    with urlopen(f"http://127.0.0.1:{freehold.port}/openapi.json", timeout=5) as answer:
        described = json.loads(answer.read())
    assert described == describe(data_app.ROUTES, data_app.VERBS)
    for path in data_app.ROUTES:
        if path == "/v1beta/models/*":
            assert all(f"/v1beta/models/{{model}}:{verb}" in described["paths"] for verb in data_app.VERBS)
        else:
            assert path.replace("/*", "/{model}") in described["paths"], path
    assert not [record for record in freehold.settled() if record["code"] == "bug"]
