"""Known providers, as data. A provider is a row until it needs behaviour.

Addresses, key variables and differences are from each provider's own documentation, its open source, its maintainers' words in public
issues, and recorded exchanges; checked 2026-11-24. What could not be confirmed is left at the dialect's own rule.
"""

from __future__ import annotations

from dataclasses import replace

from freehold.kernel.routes import ROUTES, Route, Traits
from freehold.kernel.snapshot import ProviderRow

_MAX_TOKENS = {"max_completion_tokens": "max_tokens"}
# Settings that only OpenAI and Azure are known to take; others answer with an error, or ignore them.
_OWN = frozenset({"store", "metadata", "service_tier", "prompt_cache_key", "verbosity"})
_NO_FILES = frozenset({"document_url", "document_data", "video"})
_EXTRA = frozenset({"top_k", "cache_control"})  # what OpenAI itself does not know
_OPENAI = Traits(refuses=_EXTRA | {"document_url", "video"})
_RESPONSES = ROUTES["openai-responses"]
_MESSAGES = ROUTES["anthropic-messages"]


_NO_RETENTION = {"provider": {"data_collection": "deny", "zdr": True}}  # OpenRouter's own words for it
_MOST = Traits(takes_developer=False, renames=_MAX_TOKENS)  # most take `system` and `max_tokens`


def _chat(refuses: frozenset[str] = frozenset(), traits: Traits = _MOST) -> Route:
    """openai-chat with a provider's differences; none of what only OpenAI knows."""
    return Route("openai-chat", traits=replace(traits, refuses=_OWN | refuses))


_ROWS = (
    ProviderRow(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        title="OpenAI",
        batches="openai",
        routes=(Route("openai-chat", traits=_OPENAI), replace(_RESPONSES, traits=Traits(refuses=frozenset({"video"})))),
        geos=((r"(us|eu|au|in|jp)\.api\.openai\.com", "regional"),),
    ),
    ProviderRow(
        "anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        title="Anthropic",
        routes=(_MESSAGES,),
        batches="anthropic",
    ),
    ProviderRow(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        "GEMINI_API_KEY",
        title="Google Gemini",
        batches="gemini",
        routes=(ROUTES["gemini"],),
        known_as="gcp.gemini",
    ),
    ProviderRow(
        "vertex",
        "https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}",
        title="Google Vertex AI",
        auth="google",
        elsewhere={
            "global": "https://aiplatform.googleapis.com/v1/projects/{project}/locations/global",
            "us": "https://aiplatform.us.rep.googleapis.com/v1/projects/{project}/locations/us",
            "eu": "https://aiplatform.eu.rep.googleapis.com/v1/projects/{project}/locations/eu",
        },
        geos=((r"(.+-aiplatform|aiplatform\.(us|eu)\.rep)\.googleapis\.com", "regional"),),
        routes=(
            replace(
                _MESSAGES,
                path="publishers/anthropic/models/{model}:rawPredict",
                stream_path="publishers/anthropic/models/{model}:streamRawPredict",
                serves="claude",
                names_model=False,
                auth="",
                headers={},
                adds={"anthropic_version": "vertex-2023-10-16"},
            ),
            replace(_chat(frozenset({"logit_bias"})), path="endpoints/openapi/{endpoint}", serves="[^/]+/"),
            replace(
                ROUTES["gemini"],
                path="publishers/google/models/{model}:{endpoint}",
                stream_path="publishers/google/models/{model}:streamGenerateContent?alt=sse",
                serves="(?!claude)[^/]+$",
                auth="",
            ),
        ),
        known_as="gcp.vertex_ai",
    ),
    ProviderRow(
        "bedrock",
        "https://bedrock-runtime.{region}.amazonaws.com",
        "AWS_BEARER_TOKEN_BEDROCK",
        title="Amazon Bedrock",
        auth="sigv4",
        routes=(ROUTES["bedrock-converse"],),
        known_as="aws.bedrock",
    ),
    ProviderRow(
        "azure",
        "https://{resource}.openai.azure.com/openai/v1",
        "AZURE_OPENAI_API_KEY",
        title="Azure OpenAI",
        auth="api-key",
        routes=(Route("openai-chat", traits=_OPENAI), _RESPONSES),
        known_as="azure.ai.openai",
    ),
    ProviderRow(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        "DEEPINFRA_TOKEN",
        title="DeepInfra",
        routes=(
            _chat(_NO_FILES | {"logit_bias", "cache_control"}),
            replace(_MESSAGES, path="/anthropic/v1/{endpoint}"),
        ),
    ),
    ProviderRow(
        "mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        title="Mistral",
        batches="mistral",
        geos=((r"api\.(eu|us)\.mistral\.ai", "regional"),),
        routes=(
            _chat(
                frozenset(
                    {
                        "user",
                        "logprobs",
                        "logit_bias",
                        "top_k",
                        "cache_control",
                        "participant_name",
                        "document_data",
                        "video",
                    }
                ),
                replace(
                    _MOST,
                    renames={**_MAX_TOKENS, "seed": "random_seed"},
                    usage_in_streams=False,  # reports it unasked, and refuses the option
                    thinking="parts",
                    any_tool="any",
                    tool_ids="nine",
                    documents="document_url",
                ),
            ),
        ),
        known_as="mistral_ai",
    ),
    ProviderRow(
        "groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        title="Groq",
        batches="openai",
        routes=(
            _chat(
                _NO_FILES
                | _EXTRA
                | {"logprobs", "logit_bias", "n", "participant_name", "penalties", "audio_data", "document_url"},
                replace(_MOST, renames={}),
            ),
        ),
    ),
    ProviderRow(
        "together",
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        title="Together",
        routes=(
            _chat(
                _NO_FILES | {"tool_strict", "cache_control"}, replace(_MOST, effort="reasoning", thinking="reasoning")
            ),
        ),
    ),
    ProviderRow(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        title="Fireworks",
        routes=(
            _chat(_NO_FILES | {"cache_control"}, replace(_MOST, thinking="reasoning_content")),
            _RESPONSES,
            _MESSAGES,
        ),
    ),
    ProviderRow(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        title="OpenRouter",
        routes=(
            Route(
                "openai-chat",
                traits=Traits(renames=_MAX_TOKENS, effort="reasoning", thinking="reasoning_details", tells_cost=True),
                adds_attested=_NO_RETENTION,
            ),
            replace(_RESPONSES, traits=Traits(tells_cost=True), adds_attested=_NO_RETENTION),
            replace(_MESSAGES, auth="", adds_attested=_NO_RETENTION),
        ),
    ),
    ProviderRow(
        "xai",
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        title="xAI",
        routes=(
            _chat(
                _NO_FILES | _EXTRA | {"penalties", "stop", "logit_bias"},
                replace(_MOST, renames={}, thinking="reasoning_content", tells_cost=True),
            ),
            replace(_RESPONSES, traits=Traits(takes_developer=False, refuses=frozenset({"metadata"}), tells_cost=True)),
        ),
        known_as="x_ai",
    ),
    ProviderRow(
        "deepseek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        title="DeepSeek",
        routes=(
            _chat(
                _NO_FILES
                | _EXTRA
                | {"seed", "n", "user", "image_url", "image_data", "audio_data", "parallel_tool_calls"},
                replace(_MOST, effort="thinking", thinking="reasoning_content", shape="object"),
            ),
            replace(_MESSAGES, path="/anthropic/v1/{endpoint}"),
            replace(_RESPONSES, path="/{endpoint}", traits=Traits(takes_developer=False)),
        ),
    ),
    ProviderRow(
        "perplexity",
        "https://api.perplexity.ai/v1",
        "PERPLEXITY_API_KEY",
        title="Perplexity",
        routes=(
            replace(_RESPONSES, traits=Traits(tells_cost=True)),
            replace(
                _chat(frozenset({"tools", "n", "seed"}), replace(_MOST, usage_in_streams=False, tells_cost=True)),
                path="/{endpoint}",
            ),
        ),
    ),
    ProviderRow(
        "cerebras",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        title="Cerebras",
        routes=(
            _chat(
                _NO_FILES | _EXTRA | {"penalties", "logit_bias", "n", "image_url", "image_data", "audio_data"},
                replace(_MOST, renames={}, thinking="reasoning"),
            ),
        ),
    ),
    ProviderRow(
        "ollama",
        "http://127.0.0.1:11434/v1",
        port=11434,
        title="Ollama",
        routes=(
            _chat(
                _NO_FILES
                | _EXTRA
                | {"image_url", "tool_choice", "n", "logit_bias", "user", "parallel_tool_calls", "tool_strict"},
                replace(_MOST, thinking="reasoning"),
            ),
        ),
    ),
    ProviderRow(
        "vllm",
        "http://127.0.0.1:8000/v1",
        port=8000,
        title="vLLM",
        routes=(
            _chat(
                (_NO_FILES - {"video"}) | {"cache_control"},
                replace(_MOST, renames={}, effort="template", thinking="reasoning"),
            ),
        ),
    ),
    ProviderRow(
        "llamacpp",
        "http://127.0.0.1:8080/v1",
        port=8080,
        title="llama.cpp",
        routes=(_chat(_NO_FILES | {"cache_control"}, replace(_MOST, effort="template", thinking="reasoning_content")),),
    ),
)
ROWS = {row.name: row for row in _ROWS}
