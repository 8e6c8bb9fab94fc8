"""The dashboard shows what is measured: every metric and label that it asks for is there."""

from __future__ import annotations

import json
import re

from conftest import ROOT
from freehold.gateway.metrics import Metrics
from freehold.kernel.units import Tokens
from freehold.ledger.ledger import Receipt

BOARD = json.loads((ROOT / "deploy/grafana/freehold.json").read_text())
RECEIPT = Receipt(
    call="c", key="k", workload="w", class_="public", model="m", endpoint="chat/completions", outcome="failed", code=None,
    status=502, target="a/m", zone="inside", tokens=Tokens(input=1, output=1), cost_usd=None, price="unknown price",
    answer=None,
    reasons=(), is_estimate=False, is_stream=True, duration_ms=5, first_byte_ms=2, attempts=({"target": "a/m", "zone": "inside", "result": "failed"},),
)  # fmt: skip


def test_every_expression_asks_for_what_there_is() -> None:
    metrics = Metrics()
    metrics.count(RECEIPT, True)
    metrics.waited("a")
    metrics.rested()
    known: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(freehold_\w+)(?:\{(.*)\})? ", metrics.text().decode(), re.MULTILINE):
        known.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    asked = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
    assert len(asked) >= 14
    for title, expression in asked:
        for name, labels in re.findall(r"(freehold_\w+)(?:\{([^}]*)\})?", expression):
            assert name in known, (title, name)
            wanted = set(re.findall(r"(\w+)(?:=~|!=|=)", labels))
            assert wanted <= known[name], (title, name, wanted - known[name])
        for by in re.findall(r"by \(([^)]*)\)", expression):
            named = {label.strip() for label in by.split(",")} - {"le"}
            assert any(named <= labels for labels in known.values()), (title, by)


def test_panels_lie_beside_each_other_and_have_ids_of_their_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
