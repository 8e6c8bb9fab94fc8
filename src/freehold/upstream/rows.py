"""Known providers, as data. A provider is a row until it needs behaviour.

Addresses and key variables are from each provider's own documentation, checked 2026-11-23.
"""

from __future__ import annotations

from freehold.kernel.snapshot import ProviderRow

_ROWS = (
    ProviderRow("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", title="OpenAI"),
    ProviderRow("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_TOKEN", title="DeepInfra"),
    ProviderRow(
        "mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", title="Mistral", reports_usage_in_streams=False
    ),  # reports it unasked, and refuses the option
    ProviderRow("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", title="Groq"),
    ProviderRow("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", title="Together"),
    ProviderRow("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", title="Fireworks"),
    ProviderRow("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", title="OpenRouter"),
    ProviderRow("xai", "https://api.x.ai/v1", "XAI_API_KEY", title="xAI"),
    ProviderRow("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", title="DeepSeek"),
    ProviderRow(
        "perplexity",
        "https://api.perplexity.ai",
        "PERPLEXITY_API_KEY",
        title="Perplexity",
        reports_usage_in_streams=False,
    ),  # reports it in every chunk
    ProviderRow("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", title="Cerebras"),
    ProviderRow("ollama", "http://127.0.0.1:11434/v1", port=11434, title="Ollama"),
    ProviderRow("vllm", "http://127.0.0.1:8000/v1", port=8000, title="vLLM"),
    ProviderRow("llamacpp", "http://127.0.0.1:8080/v1", port=8080, title="llama.cpp"),
)
ROWS = {row.name: row for row in _ROWS}
