"""openai-chat: the fields that are read, at every depth."""

from freehold.wire.call import Call, Endpoint
from freehold.wire.known import TYPES, is_read, leaves

_CACHE = leaves("type ttl")
_FUNCTION = leaves("name description parameters strict")
_PART = {
    TYPES: {"text", "refusal", "image_url", "input_audio", "file", "document_url", "file_url", "video_url", "thinking"},
    **leaves("type text refusal document_url document_name file_name"),
    "image_url": leaves("url detail"),
    "input_audio": leaves("data format"),
    "file": leaves("file_id filename file_data"),
    "file_url": leaves("url"),
    "video_url": leaves("url"),
    "thinking": leaves("type text"),
    "cache_control": _CACHE,
}
_CALLED = {
    TYPES: {"function", "custom", None},
    **leaves("id type index"),
    "function": leaves("name arguments"),
    "custom": leaves("name input"),
}
_MESSAGE = {
    **leaves("role name tool_call_id refusal audio annotations reasoning_content reasoning reasoning_details"),
    "content": _PART,
    "tool_calls": _CALLED,
    "function_call": leaves("name arguments"),
    "cache_control": _CACHE,
}
_TOOL = {
    TYPES: {"function", "custom", None},
    **leaves("type"),
    "function": _FUNCTION,
    "custom": leaves("name description format"),
    "cache_control": _CACHE,
}
KNOWN = {
    **leaves(
        "model stream stream_options tool_choice parallel_tool_calls max_tokens max_completion_tokens temperature top_p top_k stop seed presence_penalty "
        "frequency_penalty logit_bias logprobs top_logprobs n reasoning_effort user safety_identifier metadata service_tier store prompt_cache_key verbosity "
        "function_call modalities audio prediction web_search_options random_seed"
    ),
    "messages": _MESSAGE,
    "tools": _TOOL,
    "functions": _FUNCTION,
    "response_format": {"type": None, "json_schema": leaves("name schema strict description")},
    "reasoning": leaves("effort enabled exclude max_tokens"),
    "thinking": leaves("type budget_tokens"),
}
_EMBEDDING = leaves("model input encoding_format dimensions user input_type truncate")
_OF = {
    Endpoint.CHAT: KNOWN,
    Endpoint.COMPLETIONS: leaves(
        "model prompt suffix max_tokens temperature top_p n stream stream_options logprobs echo stop presence_penalty frequency_penalty best_of logit_bias user seed"
    ),
    Endpoint.EMBEDDINGS: _EMBEDDING,
    Endpoint.RERANK: leaves("model query documents top_n top_k return_documents max_chunks_per_doc user"),
    Endpoint.MODERATIONS: leaves("model input"),
}


def knows(call: Call) -> bool:
    """Whether every field of a call is one that is known here."""
    return is_read(call.body, _OF[call.endpoint], is_strict=True)
