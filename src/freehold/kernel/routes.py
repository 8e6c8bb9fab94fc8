"""How a provider is spoken to: which dialects it takes, at which path, under which header, and how its spelling differs. Data, never behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Traits:
    """The small differences of one provider in one dialect; the defaults are what the dialect's inventor does.

    refuses: features (words of `wire.canonical.Feature`) that it answers with an error or ignores; renames: field → its own name;
    family: who can read the opaque blobs that it makes, if not it alone; effort: how it is told how much to think;
    thinking: the field of an assistant's message that carries reasoning back ("" for none); shape: the strongest JSON promise;
    tells_cost: its usage names the dollars, and they are what it bills;
    any_tool: its word for "call at least one tool"; tool_ids: "nine" where an id must be nine letters and digits.
    """

    refuses: frozenset[str] = frozenset()
    renames: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    takes_developer: bool = True
    usage_in_streams: bool = True
    effort: Literal["effort", "reasoning", "thinking", "template", "none"] = "effort"
    thinking: Literal["", "reasoning_content", "reasoning", "reasoning_details", "parts"] = ""
    shape: Literal["schema", "object", "none"] = "schema"
    tells_cost: bool = False
    any_tool: str = "required"
    tool_ids: Literal["any", "nine"] = "any"
    documents: Literal["file", "document_url"] = "file"


PLAIN = Traits()
Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "sigv4", "google"]


@dataclass(frozen=True, slots=True)
class Route:
    """One dialect of one provider.

    path, stream_path: below the base URL, or from the host's root if they begin with a slash; `{endpoint}` and `{model}` are filled in.
    serves: an expression that the names of the models it serves match from their beginning ("" for all); names_model: whether the body
    has a `model`; adds: fields that every body gets; adds_attested: what goes into these objects of a body that is sent under an agreement; headers: sent with every request; auth: "" for the provider's usual way.
    """

    dialect: str
    path: str = "{endpoint}"
    stream_path: str = ""
    serves: str = ""
    names_model: bool = True
    traits: Traits = PLAIN
    auth: Auth | Literal[""] = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    adds: Mapping[str, Any] = field(default_factory=dict)
    adds_attested: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def path_for(self, endpoint: str, model: str, *, is_stream: bool) -> str:
        """The path of one request; a model's name is escaped, so that it stays one name."""
        path = (self.stream_path or self.path) if is_stream else self.path
        return path.replace("{endpoint}", endpoint).replace("{model}", quote(model, safe=""))


# How a server of its own speaks each dialect, unless a row says otherwise.
ROUTES: dict[str, Route] = {
    "openai-chat": Route(
        "openai-chat", traits=Traits(takes_developer=False, renames={"max_completion_tokens": "max_tokens"})
    ),
    "openai-responses": Route("openai-responses"),
    "anthropic-messages": Route(
        "anthropic-messages",
        auth="x-api-key",
        headers={"anthropic-version": "2023-06-01"},
        traits=Traits(family="anthropic-messages"),
    ),
    "gemini": Route(
        "gemini",
        "models/{model}:{endpoint}",
        "models/{model}:streamGenerateContent?alt=sse",
        names_model=False,
        auth="x-goog-api-key",
        traits=Traits(family="gemini"),
    ),
    "bedrock-converse": Route(
        "bedrock-converse",
        "model/{model}/converse",
        "model/{model}/converse-stream",
        names_model=False,
        traits=Traits(family="anthropic-messages"),
    ),
}
