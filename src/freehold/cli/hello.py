"""The first call that `up` makes to itself over HTTP, and how it is shown."""

from __future__ import annotations

import json

from freehold.cli.client import Answer, ask

MESSAGE = "Hello,\nI was charged twice for the desk lamp: $42.50 on 3 May. Order A-10423. This is urgent!\n\nKind regards,\nAnna Weber"
DEPARTMENTS = ("billing", "shipping", "returns", "technical", "account", "sales", "service")
_VALUE: dict[str, object] = {"type": ["string", "null"]}
_FIELDS: dict[str, dict[str, object]] = {
    "department": {"enum": list(DEPARTMENTS)},
    "intent": {"type": "string"},
    "urgency": {"enum": ["high", "normal", "low"]},
    "sentiment": {"enum": ["negative", "neutral", "positive"]},
    "language": {"enum": ["en", "de", "es", "fr"]},
    "name": _VALUE,
    "order_id": {"anyOf": [_VALUE, {"type": "array", "items": {"type": "string"}}]},
    **dict.fromkeys(("amount", "date", "product", "phone", "email"), _VALUE),
}
SCHEMA = {"type": "object", "additionalProperties": False, "required": list(_FIELDS), "properties": _FIELDS}


def first_call(base_url: str, key: str, model: str, *, is_own: bool) -> str:
    """Ask for a customer's message to be sorted under a JSON schema (or, of somebody's own model, just a greeting); return what to print."""
    if is_own:
        body = {
            "model": model,
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "Say hello in one sentence."}],
        }
    else:
        body = {
            "model": model,
            "temperature": 0,
            "max_tokens": 200,
            "messages": [
                {"role": "system", "content": "Triage the message. Answer in JSON."},
                {"role": "user", "content": MESSAGE},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "triage", "schema": SCHEMA, "strict": True},
            },
        }
    answer = ask(base_url, key, body)
    if answer.status != 200:
        return f"First call: status {answer.status}: {answer.json['error']['message']}\n"
    asked = "" if is_own else "".join(f"  > {line}\n" for line in MESSAGE.splitlines() if line)
    return f"First call (real, over HTTP, with the restricted key):\n\n{asked}\n{_pretty(answer)}\n\n{receipt_lines(answer)}\n"


def _pretty(answer: Answer) -> str:
    text = answer.json["choices"][0]["message"]["content"]
    if not isinstance(text, str) or not text.strip():  # a model may have thought to its limit
        return "  (no text)"
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):  # somebody's own model may say anything
        return f"  {text.strip()}"
    shown = {name: ", ".join(map(str, said)) if isinstance(said, list) else said for name, said in fields.items()}
    return "\n".join(f"  {name:<11} {'–' if said is None else said}" for name, said in shown.items())


def receipt_lines(answer: Answer) -> str:
    """What Freehold says of a call, from its headers."""
    head, usage = answer.headers, answer.json.get("usage", {}) if answer.body else {}
    facts = [
        ("class", head.get("x-freehold-class")),
        ("zone", head.get("x-freehold-zone")),
        ("target", head.get("x-freehold-target")),
        ("tokens", f"{usage['prompt_tokens']} in, {usage['completion_tokens']} out" if usage else None),
        ("cost", f"{cost} USD" if (cost := head.get("x-freehold-cost-usd")) is not None else None),
        ("without", head.get("x-freehold-transform")),
        ("receipt", head.get("x-freehold-call-id")),
    ]
    return "\n".join(f"  {name:<8} {value}" for name, value in facts if value is not None)
