"""All dialects, by name. A new one is a package beside these and a row here."""

from __future__ import annotations

from freehold.wire import anthropic_messages, bedrock_converse, gemini, openai_chat, openai_responses
from freehold.wire.dialect import Dialect, Spoken

DIALECTS: dict[str, Dialect] = {
    one.DIALECT.name: one.DIALECT
    for one in (openai_chat, openai_responses, anthropic_messages, gemini, bedrock_converse)
}
SPOKEN: dict[str, Spoken] = {name: one.spoken for name, one in DIALECTS.items() if one.spoken is not None}
