"""Turn cases into the conversations that hearth is trained on, and render the chat template.

Why it exists: the same message is asked for in several ways (JSON, reply, tool call, small talk).
Rules: `render` here and `TEMPLATE` (Jinja, stored in the GGUF) must write the same text; the parity
test compares them. Only assistant text is learned at full weight.
What it does not know: how text becomes tokens.
"""

from __future__ import annotations

import json

import phrases as P
from grammar import EXTRACTION, FIELDS, TRIAGE, Case, Writer, answer

Message = dict[str, str]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up_order",
        "description": "Look up an order",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
}
JSON_SYSTEMS = (
    "Triage the message. Answer in JSON.",
    "You sort support mail. Reply with JSON only.",
    "Extract the fields from the customer's message as JSON.",
    "You are a support desk assistant. Answer in JSON.",
    "Classify and extract. JSON.",
    "",
)
REPLY_SYSTEMS = (
    "",
    "",
    "You are a support desk assistant.",
    "Write a short, polite reply to the customer.",
    "Reply to the customer.",
    "You are a helpful assistant.",
)

TEMPLATE = (  # no `{%-` (it would eat line breaks that training saw), and no line break right behind a tag (llama.cpp trims it)
    "{% if tools %}"
    "<|im_start|>system{{ '\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif %}Tools:"
    "{% for tool in tools %}{{ '\n' + tool.function.name }}({% for name in tool.function.parameters.properties %}{{ name }}{% if not loop.last %}, {% endif %}{% endfor %}){% endfor %}"
    "{{ '\n' }}To call one, write <tool_call>{\"name\": ..., \"arguments\": {...}}</tool_call><|im_end|>{{ '\n' }}"
    "{% elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'tool' or message.role == 'user' %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% elif message.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% if message.content %}{{ message.content }}{% endif %}"
    '{% for call in message.tool_calls or [] %}<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}}</tool_call>{% endfor %}{{ \'<|im_end|>\n\' }}'
    "{% elif not loop.first %}{{ '<|im_start|>system\n' + message.content + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def render(messages: list[Message], *, tools: bool = False) -> list[tuple[str, bool]]:
    """Write a conversation in the chat template.

    Returns pieces of (text, is_learned): learned pieces are what the assistant says, its end mark included.
    """
    pieces: list[tuple[str, bool]] = []
    rest = list(messages)
    if tools:
        system = f"{rest.pop(0)['content']}\n" if rest[0]["role"] == "system" else ""
        name, arguments = "look_up_order", "order_id"
        pieces.append(
            (
                f'<|im_start|>system\n{system}Tools:\n{name}({arguments})\nTo call one, write <tool_call>{{"name": ..., "arguments": {{...}}}}</tool_call><|im_end|>\n',
                False,
            )
        )
    for message in rest:
        learned = message["role"] == "assistant"
        pieces.append((f"<|im_start|>{message['role']}\n", False))
        pieces.append((f"{message['content']}<|im_end|>", learned))
        pieces.append(("\n", False))
    return pieces


def conversation(writer: Writer, *, drill: float = 0.05) -> list[tuple[str, bool]]:
    """Draw one training conversation: two thirds JSON, a fifth replies, then tools and small talk; drill: share of copying drills."""
    if writer.chance(drill):
        return copying_drill(writer)
    roll = writer.random.random()
    if roll < 0.03:
        return small_talk(writer)
    case = writer.case()
    user = {"role": "user", "content": case.message}
    if roll < 0.12:
        return tool_talk(writer, case)
    if roll < 0.30:
        system = writer.random.choice(REPLY_SYSTEMS)
        return render([*_system(system), user, {"role": "assistant", "content": writer.reply(case)}])
    fields = wanted_fields(writer)
    # Without a system prompt free text and JSON compete; a grammar decides at inference, so few cases do.
    system = writer.random.choice(JSON_SYSTEMS[:-1]) if writer.chance(0.9) else ""
    return render([*_system(system), user, {"role": "assistant", "content": answer(case.labels, fields)}])


def copying_drill(writer: Writer) -> list[tuple[str, bool]]:
    """Repeat a random line. Why: without drills the copying of names and numbers had not begun after 2.7 M tokens (2026-11-24)."""
    makers = (
        writer.name,
        writer.order,
        writer.amount,
        writer.date,
        lambda: writer.pick(P.PRODUCTS),
        lambda: writer.digits(4),
    )
    words = [writer.random.choice(makers)() for _ in range(writer.random.randint(3, 8))]
    line = writer.random.choice((" ", ", ", " / ")).join(words)
    return render(
        [
            {"role": "system", "content": "Repeat the line."},
            {"role": "user", "content": line},
            {"role": "assistant", "content": line},
        ]
    )


def wanted_fields(writer: Writer) -> tuple[str, ...]:
    roll = writer.random.random()
    if roll < 0.55:
        return FIELDS
    if roll < 0.65:
        return TRIAGE
    if roll < 0.75:
        return EXTRACTION
    fields = writer.random.sample(FIELDS, writer.random.randint(1, len(FIELDS)))
    return tuple(fields)


def tool_talk(writer: Writer, case: Case) -> list[tuple[str, bool]]:
    order = case.labels["order_id"]
    system = _system(writer.random.choice(REPLY_SYSTEMS))
    user = {"role": "user", "content": case.message}
    if order is None:
        return render([*system, user, {"role": "assistant", "content": writer.reply(case)}], tools=True)
    call = f"<tool_call>{json.dumps({'name': 'look_up_order', 'arguments': {'order_id': order}})}</tool_call>"
    messages = [*system, user, {"role": "assistant", "content": call}]
    if writer.chance(0.5):
        status = writer.random.choice(P.ORDER_STATUS)
        dear = f"Dear {case.labels['name']}" if case.labels["name"] else "Hello"
        messages.append({"role": "tool", "content": json.dumps({"order_id": order, "status": status})})
        messages.append(
            {
                "role": "assistant",
                "content": f"{dear}, thank you for your message. Order {order} is {status}. Please write to us if you need anything else.",
            }
        )
    return render(messages, tools=True)


def small_talk(writer: Writer) -> list[tuple[str, bool]]:
    asked, said = writer.random.choice(P.ABOUT_ME)
    asked = asked.capitalize() if writer.chance(0.5) else asked
    asked += writer.random.choice(("?", "", ".", "!"))
    system = writer.random.choice(REPLY_SYSTEMS)
    return render([*_system(system), {"role": "user", "content": asked}, {"role": "assistant", "content": said}])


def _system(text: str) -> list[Message]:
    return [{"role": "system", "content": text}] if text else []
