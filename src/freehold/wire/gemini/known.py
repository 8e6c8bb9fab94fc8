"""gemini: the fields that are read, at every depth, in camelCase."""

from typing import Any

from freehold.wire.call import COUNTS, Call
from freehold.wire.gemini.spelling import camel
from freehold.wire.known import is_read, leaves

_MEDIA = leaves("mimeType data fileUri displayName")
_PART: dict[str, Any] = {
    **leaves("text thought thoughtSignature executableCode codeExecutionResult toolCall toolResponse"),
    "inlineData": _MEDIA,
    "fileData": _MEDIA,
    "functionCall": leaves("id name args"),
}
_PART["functionResponse"] = {**leaves("id name response"), "parts": _PART}
_CONTENT = {"role": None, "parts": _PART}
_FUNCTION = leaves("name description parameters parametersJsonSchema")
_HOSTED = leaves(
    "googleSearch googleSearchRetrieval codeExecution urlContext enterpriseWebSearch retrieval computerUse googleMaps fileSearch mcpServers"
)
KNOWN = {
    **leaves("safetySettings cachedContent labels model serviceTier"),
    "contents": _CONTENT,
    "systemInstruction": _CONTENT,
    "tools": {"functionDeclarations": _FUNCTION, **_HOSTED},
    "toolConfig": {"functionCallingConfig": leaves("mode allowedFunctionNames")},
    "generationConfig": {
        **leaves(
            "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty frequencyPenalty responseLogprobs logprobs "
            "responseMimeType responseSchema responseJsonSchema responseModalities"
        ),
        "thinkingConfig": leaves("thinkingLevel thinkingBudget includeThoughts"),
    },
}


def knows(call: Call) -> bool:
    """Whether every field of a call is one that is known here."""
    body = call.body
    asked = body.get("generateContentRequest", body) if call.endpoint in COUNTS else body
    return is_read(asked, KNOWN, camel, is_strict=True)
