"""openai-responses: the fields that are read, at every depth."""

from freehold.wire.call import Call
from freehold.wire.known import TYPES, is_read, leaves

_PART = {
    TYPES: {
        "input_text",
        "output_text",
        "text",
        "refusal",
        "input_image",
        "input_file",
        "input_audio",
        "summary_text",
        "reasoning_text",
    },
    **leaves("type text annotations logprobs refusal image_url detail file_id filename file_url file_data"),
    "input_audio": leaves("data format"),
}
_ITEM = {
    TYPES: {
        "message",
        "function_call",
        "custom_tool_call",
        "function_call_output",
        "custom_tool_call_output",
        "reasoning",
        None,
    },
    **leaves("type id role status call_id name arguments input encrypted_content"),
    "content": _PART,
    "output": _PART,
    "summary": _PART,
}
KNOWN = {
    **leaves(
        "model instructions stream tool_choice parallel_tool_calls max_output_tokens temperature top_p metadata store background previous_response_id "
        "include user conversation stream_options service_tier safety_identifier prompt_cache_key top_logprobs truncation prompt top_k seed"
    ),
    "input": _ITEM,
    "tools": {TYPES: {"function", "custom"}, **leaves("type name description parameters strict format")},
    "text": {"verbosity": None, "format": leaves("type name schema strict description")},
    "reasoning": leaves("effort summary"),
}


def knows(call: Call) -> bool:
    """Whether every field of a call is one that is known here."""
    return is_read(call.body, KNOWN, is_strict=True)
