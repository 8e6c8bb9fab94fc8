"""The ruling, the grant, and the proof, which is a computation of its own and must agree with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import snapshot_of
from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.snapshot import Snapshot
from freehold.perimeter.proof import compare, lends, prove
from freehold.perimeter.ruling import Bound, Declared, Grant, Moment, grant, grant_probe, rule

EVIDENCE = "0" * 64
CONFIG = f"""
[providers.rack]
base_url = "http://10.0.0.5/v1"
zone = "inside"
[providers.zdr]
base_url = "https://zdr.example/v1"
zone = "attested"
attestation = {{ control = "zero-retention", endpoint = "https://zdr.example/v1", evidence = "sha256:{EVIDENCE}", expires = 2027-06-30 }}
[providers.cloud]
base_url = "https://cloud.example/v1"
[workloads.open]
class = "public"
targets = ["rack/m", "zdr/m", "cloud/m"]
[workloads.inner]
class = "internal"
targets = ["rack/m"]
[workloads.held]
class = "confidential"
targets = ["zdr/m", "rack/m"]
[workloads.closed]
class = "restricted"
targets = ["rack/m"]
"""
NOW = 1_795_000_000.0  # before the agreement ends
LATER = 1_900_000_000.0


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param(Declared(), Class.RESTRICTED, id="nothing declared"),
        pytest.param(Declared(workload="open"), Class.RESTRICTED, id="a key without class calling a public workload"),
        pytest.param(Declared(key=Class.PUBLIC), Class.PUBLIC, id="public key"),
        pytest.param(
            Declared(key=Class.PUBLIC, workload="closed"), Class.RESTRICTED, id="public key, restricted workload"
        ),
        pytest.param(
            Declared(key=Class.RESTRICTED, workload="open"), Class.RESTRICTED, id="restricted key, public workload"
        ),
        pytest.param(Declared(bound="open"), Class.PUBLIC, id="bound key takes its workload's class"),
        pytest.param(
            Declared(key=Class.INTERNAL, bound="held"), Class.CONFIDENTIAL, id="where both are set the higher counts"
        ),
        pytest.param(Declared(key=Class.CONFIDENTIAL, bound="open"), Class.CONFIDENTIAL, id="the key is the higher"),
        pytest.param(Declared(key=Class.PUBLIC, raised="confidential"), Class.CONFIDENTIAL, id="a caller may raise"),
        pytest.param(Declared(key=Class.RESTRICTED, raised="public"), Class.RESTRICTED, id="a caller may not lower"),
        pytest.param(
            Declared(key=Class.PUBLIC, raised="top secret"), Class.RESTRICTED, id="what is unreadable is restricted"
        ),
        pytest.param(
            Declared(key=Class.PUBLIC, workload="gone"), Class.RESTRICTED, id="an unknown workload is restricted"
        ),
    ],
)
def test_effective_class(declared: Declared, expected: Class) -> None:
    snapshot = snapshot_of(CONFIG)
    ruling = rule(declared, snapshot)
    assert ruling.class_ is expected
    assert ruling.zones == snapshot.zones[expected]
    assert ruling.reasons


classes = st.none() | st.sampled_from(Class)
names = st.none() | st.sampled_from(["open", "inner", "held", "closed", "gone"])
texts = st.none() | st.sampled_from([c.label for c in Class]) | st.text(max_size=5)


@given(classes, names, names, texts)
def test_the_class_is_never_below_anything_declared(
    key: Class | None, bound: str | None, workload: str | None, raised: str | None
) -> None:
    snapshot = snapshot_of(CONFIG)
    found = rule(Declared(key, bound, workload, raised), snapshot).class_
    floors = [
        c
        for c in (key, *(snapshot.workloads[n].class_ for n in (bound, workload) if n in snapshot.workloads))
        if c is not None
    ]
    assert all(found >= floor for floor in floors)
    if key is None and bound is None:
        assert found is Class.RESTRICTED


def test_a_grant_cannot_be_made_by_hand() -> None:
    snapshot = snapshot_of(CONFIG)
    target = snapshot.workloads["open"].targets[2]
    with pytest.raises(PolicyRefusal, match="minted"):
        Grant(
            object(),
            provider=snapshot.providers["cloud"],
            target=target,
            zone=Zone.INSIDE,
            class_=Class.PUBLIC,
            bound=Bound("c", 1, b"", 9e9),
        )


def test_a_grant_follows_the_zone_of_the_moment() -> None:
    """An agreement that ends between two attempts ends the permission too."""
    snapshot = snapshot_of(CONFIG)
    ruling = rule(Declared(key=Class.CONFIDENTIAL), snapshot)
    provider, target = snapshot.providers["zdr"], snapshot.workloads["held"].targets[0]
    assert grant(ruling, provider, target, call=("c", 1), body=b"", at=Moment(NOW, 0.0)).zone is Zone.ATTESTED
    with pytest.raises(PolicyRefusal) as caught:
        grant(ruling, provider, target, call=("c", 2), body=b"", at=Moment(LATER, 0.0))
    assert caught.value.code == "perimeter.zone_forbidden"


def test_a_probe_names_no_model_and_no_call() -> None:
    permit = grant_probe(snapshot_of(CONFIG).providers["cloud"], now_s=NOW, at_s=0.0)
    assert (permit.is_probe, permit.target.model, permit.call_id) == (True, "", "probe")


# --- the proof -----------------------------------------------------------------------------------------------


def reached_by_running(snapshot: Snapshot, now_s: float) -> set[tuple[Class | None, str | None, str | None, str, bool]]:
    """Every combination, decided by `rule` and `grant` themselves."""
    found = set()
    for case in [reach.case for reach in prove(snapshot, now_s=now_s).reaches]:
        ruling = rule(Declared(case.key, case.bound, case.workload), snapshot)
        name = case.workload or case.bound
        pairs = (
            [(t.provider, t) for t in snapshot.workloads[name].targets]
            if name
            else [(p, None) for p in snapshot.providers]
        )
        for provider, target in pairs:
            try:
                grant(
                    ruling,
                    snapshot.providers[provider],
                    target or snapshot.workloads["open"].targets[0],
                    call=("c", 1),
                    body=b"",
                    at=Moment(now_s, 0.0),
                )
                allowed = True
            except PolicyRefusal:
                allowed = False
            found.add((case.key, case.bound, case.workload, provider, allowed))
    return found


def reached_by_proof(snapshot: Snapshot, now_s: float) -> set[tuple[Class | None, str | None, str | None, str, bool]]:
    return {
        (reach.case.key, reach.case.bound, reach.case.workload, target.provider, allowed)
        for reach in prove(snapshot, now_s=now_s).reaches
        for pairs, allowed in ((reach.allowed, True), (reach.withheld, False))
        for target, _ in pairs
    }


zone_lists = st.sampled_from([("inside",), ("inside", "attested"), ("inside", "attested", "outside")])


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """Random monotonic class tables over the fixed providers, with random classes on the workloads."""
    widths = sorted((draw(st.integers(1, 3)) for _ in Class), reverse=True)
    zones = ("inside", "attested", "outside")
    table = "[classes]\n" + "".join(f"{c.label} = {list(zones[:w])}\n" for c, w in zip(Class, widths, strict=True))
    text = CONFIG
    for old in ("public", "internal", "confidential", "restricted"):
        text = text.replace(f'class = "{old}"', f'class = "{draw(st.sampled_from([c.label for c in Class]))}"', 1)
    return text + table


@settings(max_examples=60, deadline=None)
@given(configurations(), st.sampled_from([NOW, LATER]))
def test_the_proof_agrees_with_rule_and_grant(config: str, now_s: float) -> None:
    snapshot = snapshot_of(config)
    assert reached_by_proof(snapshot, now_s) == reached_by_running(snapshot, now_s)


@settings(max_examples=60, deadline=None)
@given(configurations(), st.sampled_from([NOW, LATER]))
def test_a_finding_is_exactly_a_listed_target_that_its_class_forbids(config: str, now_s: float) -> None:
    snapshot = snapshot_of(config)
    expected = {
        (w.name, t.name)
        for w in snapshot.workloads.values()
        for t in w.targets
        if snapshot.providers[t.provider].zone_at(now_s, t.model) not in snapshot.zones[w.class_]
    }
    chains = [finding.chain for finding in prove(snapshot, now_s=now_s).findings]
    assert len(chains) == len(expected)
    for workload, target in expected:
        assert any(f"workload {workload} " in chain and target in chain for chain in chains)


def test_a_restricted_workload_with_an_outside_fallback_is_a_finding() -> None:
    snapshot = snapshot_of(CONFIG.replace('class = "public"', 'class = "restricted"'))
    proof = prove(snapshot, now_s=NOW)
    assert not proof.holds
    assert "workload open (restricted) → fallback 2 cloud/m → zone outside" in [f.chain for f in proof.findings]


def test_an_expired_agreement_is_a_finding_and_says_so() -> None:
    proof = prove(snapshot_of(CONFIG), now_s=LATER)
    assert any("agreement has expired" in finding.chain for finding in proof.findings)


def test_the_default_configuration_holds() -> None:
    assert prove(snapshot_of(""), now_s=NOW).holds


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("", "cache = {}", ("w, what is asked and answered", "is kept in a cache of each key")),
        (
            "cache = {}",
            'cache = { scope = "workload" }',
            ("w, what is asked and answered", "is kept in a cache of all its keys together"),
        ),
        ("", "batch = true", ("w, what is asked and answered", "is kept in batches")),
        ("batch = true\ncache = {}", "", None),
        ("cache = {}", "cache = { ttl = 60 }", None),
    ],
)
def test_a_change_says_whose_words_are_newly_kept(before: str, after: str, change: tuple[str, str] | None) -> None:
    """To keep what nobody kept is something that a change allows."""
    text = '[providers.rack]\nbase_url = "http://10.0.0.5/v1"\nzone = "inside"\n[workloads.w]\ntargets = ["rack/m"]\n'
    found = compare(snapshot_of(text + before), snapshot_of(text + after), now_s=0)
    assert [(one.who, one.where) for one in found.allowed] == ([change] if change else [])


def test_a_change_says_where_batches_may_newly_lie() -> None:
    """A provider's batch endpoint keeps what it is given: that is something that a change allows, but never under an agreement to keep nothing."""
    text = (
        '[providers.cloud]\nbase_url = "https://cloud.example/v1"\n{}\n[workloads.w]\nclass = "public"\n'
        'targets = ["cloud/m"]\nbatch = true\n'
    )
    agreed = 'zone = "attested"\nattestation = { control = "zero-retention", evidence = "sha256:' + "a" * 64
    agreed += '", expires = 2099-01-01, endpoint = "https://cloud.example/v1" }\n'
    before, after = snapshot_of(text.format("")), snapshot_of(text.format('batches = "openai"'))
    assert [(one.who, one.where) for one in compare(before, after, now_s=NOW).allowed] == [
        ("w, lines of batches", "may lie until they are answered at cloud")
    ]
    under = snapshot_of(text.format(agreed + 'batches = "openai"'))
    assert lends(under) == {}
    assert snapshot_of('[providers.openai]\nkey = "env:K"\n', K="k").providers["openai"].batches == "openai"
    elsewhere = snapshot_of('[providers.openai]\nkey = "env:K"\nbase_url = "https://gateway.example/v1"\n', K="k")
    assert elsewhere.providers["openai"].batches == "", "another address may have no such endpoint"
    off = snapshot_of('[providers.openai]\nkey = "env:K"\nbatches = "none"\n', K="k")
    assert off.providers["openai"].batches == ""
