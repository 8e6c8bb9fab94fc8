"""Freehold's own golden set: requests, answers and streams in every dialect, written from the vendors' documented formats.

Each `Pair` is one exchange told twice: as a whole answer and as the stream of the same answer. They reach the branches that the recorded
exchanges reach, so that the suite means something without them. All people, shops and keys in it are made up.
"""

from __future__ import annotations

from wire.golden.anthropic_messages import MESSAGES
from wire.golden.bedrock_converse import CONVERSE
from wire.golden.gemini import GEMINI
from wire.golden.openai_chat import CHAT
from wire.golden.openai_responses import RESPONSES
from wire.golden.pair import PIXEL as PIXEL
from wire.golden.pair import SCHEMA as SCHEMA
from wire.golden.pair import Pair as Pair
from wire.golden.requests import REQUESTS as REQUESTS

PAIRS = [*CHAT, *RESPONSES, *MESSAGES, *GEMINI, *CONVERSE]
