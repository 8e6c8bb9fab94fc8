"""One conversation that uses nearly everything, in each dialect's own words."""

from __future__ import annotations

from typing import Any

from wire.golden.openai_chat import CALLS
from wire.golden.pair import PIXEL, SCHEMA, TEXT

_DATA = f"data:image/png;base64,{PIXEL}"
REQUESTS: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Use tools."}]},
            {
                "role": "user",
                "name": "mira",
                "content": [
                    {"type": "text", "text": TEXT},
                    {"type": "image_url", "image_url": {"url": _DATA, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/fox.png"}},
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"},
                    },
                ],
            },
            {"role": "assistant", "content": "One moment.", "reasoning_content": "Hm.", "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "call_a", "content": "shipped"},
            {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "noon"}]},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look_up", "description": "Find it.", "parameters": SCHEMA, "strict": True},
            },
            {"type": "function", "function": {"name": "now"}},
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA, "strict": True}},
        "max_completion_tokens": 500,
        "temperature": 0.2,
        "top_p": 0.9,
        "stop": ["END", "STOP"],
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 3,
        "n": 2,
        "reasoning_effort": "low",
        "user": "u-1",
        "metadata": {"team": "a"},
        "service_tier": "flex",
        "store": True,
        "prompt_cache_key": "k",
        "verbosity": "low",
        "logit_bias": {"50256": -100},
        "x_new": {"deep": [1, None]},
    },
    "openai-responses": {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": TEXT},
                    {"type": "input_image", "image_url": _DATA, "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "encrypted_content": "Z2VoZWlt",
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
            },
            {"type": "function_call", "call_id": "call_a", "name": "look_up", "arguments": '{"order_id": "A-1"}'},
            {"type": "function_call_output", "call_id": "call_a", "output": "shipped"},
            {"role": "user", "content": "And now?"},
        ],
        "tools": [
            {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": True},
            {
                "type": "custom",
                "name": "patch",
                "description": "Change a file.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
            },
        ],
        "tool_choice": {"type": "function", "name": "look_up"},
        "parallel_tool_calls": True,
        "text": {
            "format": {"type": "json_schema", "name": "order", "schema": SCHEMA, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "high", "summary": "auto"},
        "max_output_tokens": 500,
        "temperature": 0.2,
        "top_p": 0.9,
        "metadata": {"team": "a"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "x_new": 1,
    },
    "anthropic-messages": {
        "model": "m",
        "max_tokens": 5000,
        "system": [
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Use tools.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": TEXT},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {
                        "type": "document",
                        "title": "Foxes",
                        "source": {"type": "text", "media_type": "text/plain", "data": "a fox"},
                        "citations": {"enabled": True},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "text", "text": "One moment."},
                    {"type": "tool_use", "id": "toolu_a", "name": "look_up", "input": {"order_id": "A-1"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_a",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "gone"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                        ],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [
            {
                "name": "look_up",
                "description": "Find it.",
                "input_schema": SCHEMA,
                "cache_control": {"type": "ephemeral"},
            },
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "temperature": 1.0,
        "top_k": 40,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
        "x_new": 1,
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": TEXT},
                    {"inline_data": {"mime_type": "image/png", "data": PIXEL}},
                    {"fileData": {"fileUri": "https://a.example/a.pdf", "mimeType": "application/pdf"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "look_up", "args": {"order_id": "A-1"}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"name": "look_up", "args": {"order_id": "B-2"}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "look_up", "response": {"output": "shipped"}}},
                    {"functionResponse": {"name": "look_up", "response": {"error": "gone"}}},
                ],
            },
            {"role": "user", "parts": [{"text": "And now?"}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "look_up",
                        "description": "Find it.",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"order_id": {"type": "STRING", "nullable": True}},
                        },
                    }
                ]
            },
            {"googleSearch": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look_up"]}},
        "generationConfig": {
            "temperature": 0.2,
            "topP": 0.9,
            "topK": 40,
            "candidateCount": 2,
            "maxOutputTokens": 500,
            "stopSequences": ["END"],
            "seed": 7,
            "presencePenalty": 0.1,
            "responseLogprobs": True,
            "logprobs": 3,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"order_id": {"type": "STRING"}}},
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000},
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "x_new": 1,
    },
}
