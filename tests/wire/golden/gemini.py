"""Exchanges in gemini: whole, and as a stream."""

from __future__ import annotations

from typing import Any

from wire.golden.pair import PIXEL, TEXT, Pair, sse

_G_USAGE = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 8,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 32,
}


def _generated(parts: list[dict[str, Any]], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {
        "content": {"parts": parts, "role": "model"},
        "index": 0,
        **({"finishReason": reason} if reason else {}),
        **more,
    }
    return {"candidates": [candidate], "usageMetadata": _G_USAGE, "modelVersion": "m", "responseId": "r1"}


_LOGGED = {
    "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
    "topCandidates": [{"candidates": [{"token": "Yo", "logProbability": -1.5}]}],
}
_GROUND = {
    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
    "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 2, "text": "Hi"}, "groundingChunkIndices": [0]}],
}

GEMINI = [
    Pair(
        "thoughts, words, signature on the last part",
        "gemini",
        _generated([{"text": "Hm. Well.", "thought": True}, {"text": TEXT}, {"text": "", "thoughtSignature": "c2ln"}]),
        sse(
            [
                _generated([{"text": "Hm. ", "thought": True}], None),
                _generated([{"text": "Well.", "thought": True}], None),
                *(_generated([{"text": one}], None) for one in TEXT),
                _generated([{"text": "", "thoughtSignature": "c2ln"}]),
            ],
            end="\r\n",
        ),
    ),
    Pair(
        "two calls, the first one signed",
        "gemini",
        _generated(
            [
                {"functionCall": {"name": "look_up", "args": {"order_id": "A-1"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "now", "args": {}}},
            ]
        ),
        sse(
            [
                _generated(
                    [{"functionCall": {"name": "look_up", "args": {"order_id": "A-1"}}, "thoughtSignature": "c2ln"}],
                    None,
                ),
                _generated([{"functionCall": {"name": "now", "args": {}}}]),
            ],
            end="\r\n",
        ),
    ),
    Pair(
        "log probabilities and grounding",
        "gemini",
        _generated([{"text": "Hi"}], "MAX_TOKENS", logprobsResult=_LOGGED, groundingMetadata=_GROUND),
        sse([_generated([{"text": "Hi"}], "MAX_TOKENS", logprobsResult=_LOGGED, groundingMetadata=_GROUND)]),
    ),
    Pair(
        "code that the provider ran",
        "gemini",
        _generated([{"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"text": "2"}]),
        sse(
            [_generated([{"executableCode": {"language": "PYTHON", "code": "1+1"}}], None), _generated([{"text": "2"}])]
        ),
    ),
    Pair(
        "a blocked prompt",
        "gemini",
        {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 4},
            "modelVersion": "m",
            "responseId": "r1",
        },
        sse(
            [
                {
                    "promptFeedback": {"blockReason": "SAFETY"},
                    "usageMetadata": {"promptTokenCount": 4},
                    "modelVersion": "m",
                    "responseId": "r1",
                }
            ]
        ),
    ),
    Pair(
        "a picture",
        "gemini",
        _generated([{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]),
        sse([_generated([{"inlineData": {"mimeType": "image/png", "data": PIXEL}}])]),
    ),
]
