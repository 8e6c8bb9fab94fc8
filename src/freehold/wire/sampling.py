"""Whether an answer is drawn by chance, so that the same question would get another one."""

from __future__ import annotations

from freehold.wire.call import Call, Endpoint

_CERTAIN = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.MODERATIONS})
_GENERATION = ("generationConfig", "generation_config")


def is_sampled(call: Call) -> bool:
    """True unless the call asks for a temperature of zero, or for something that is computed."""
    if call.endpoint in _CERTAIN:
        return False
    settings = call.body
    if call.endpoint is Endpoint.GENERATE:
        settings = next((found for name in _GENERATION if isinstance(found := call.body.get(name), dict)), {})
    temperature = settings.get("temperature")
    return isinstance(temperature, bool) or temperature != 0
