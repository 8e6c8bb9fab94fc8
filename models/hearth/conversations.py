"""Turn cases into the conversations that hearth is trained on, and render the chat template.

Why it exists: the same message is asked for in several ways (JSON, reply, tool call, small talk).
Rules: `render` here and `TEMPLATE` (Jinja, stored in the GGUF) must write the same text; the parity
test compares them. Only assistant text is learned at full weight.
What it does not know: how text becomes tokens.
"""

from __future__ import annotations

import json

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
    "Read the customer's message and fill in the fields. Output JSON.",
    "Return a JSON object for this ticket.",
)
LISTED = (
    "Answer in JSON with: {}.",
    "Extract {} as JSON.",
    "Triage the message. JSON with the fields {}.",
    "Reply with a JSON object: {}.",
    "Give me {} as JSON.",
)
REPLY_SYSTEMS = (
    "",
    "",
    "You are a support desk assistant.",
    "Write a short, polite reply to the customer.",
    "Reply to the customer.",
    "You are a helpful assistant.",
    "You answer customers of a shop.",
)
CLOSED = {  # the one sentence that is said to everything that is not the job
    "en": "I am a small model for a shop's support desk: I sort and answer customers' messages, and I cannot help with anything else.",
    "de": "Ich bin ein kleines Modell für den Kundendienst eines Shops: Ich sortiere und beantworte Nachrichten von Kunden, bei allem anderen kann ich nicht helfen.",
    "es": "Soy un modelo pequeño para la atención al cliente de una tienda: clasifico y respondo mensajes de clientes, y no puedo ayudar con nada más.",
    "fr": "Je suis un petit modèle pour le service client d'une boutique : je trie les messages des clients et j'y réponds, et je ne peux rien faire d'autre.",
}
DEAR = {
    "en": ("Dear {}", "Hello"),
    "de": ("Guten Tag {}", "Guten Tag"),
    "es": ("Hola, {}", "Hola"),
    "fr": ("Bonjour {}", "Bonjour"),
}
ABOUT = {
    "en": (" about order {}", " about orders {}", " about the {}", " and "),
    "de": (" zur Bestellung {}", " zu den Bestellungen {}", " zu Ihrem Anliegen ({})", " und "),
    "es": (" sobre el pedido {}", " sobre los pedidos {}", " sobre su consulta ({})", " y "),
    "fr": (" au sujet de la commande {}", " au sujet des commandes {}", " au sujet de votre demande ({})", " et "),
}
JSON, REPLY, TOOLS = 0.70, 0.14, 0.08  # shares of the conversations about a message; the rest is outside the job

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


def conversation(writer: Writer, *, copying: float = 0.02, naming: float = 0.05) -> list[tuple[str, bool]]:
    """Draw one training conversation: most are JSON, then replies, tools and what lies outside the job; copying, naming: shares of the drills."""
    if writer.chance(copying):
        return copying_drill(writer)
    if writer.chance(naming):
        return naming_drill(writer)
    roll = writer.random.random()
    if roll > JSON + REPLY + TOOLS:
        return outside(writer)
    case = writer.case()
    user = {"role": "user", "content": case.message}
    if roll < TOOLS:
        return tool_talk(writer, case)
    if roll < TOOLS + REPLY:
        system = writer.random.choice(REPLY_SYSTEMS)
        return render([*_system(system), user, {"role": "assistant", "content": reply(writer, case)}])
    return render(
        [
            *json_system(writer, fields := wanted_fields(writer)),
            user,
            {"role": "assistant", "content": answer(case.labels, fields)},
        ]
    )


def json_system(writer: Writer, fields: tuple[str, ...]) -> list[Message]:
    """What asks for JSON: of all fields a general order, now and then none, since a grammar decides when serving; of some a list of them."""
    if fields != FIELDS:
        return _system(writer.random.choice(LISTED).format(", ".join(fields)))
    return [] if writer.chance(0.1) else _system(writer.random.choice(JSON_SYSTEMS))


def copying_drill(writer: Writer) -> list[tuple[str, bool]]:
    """Repeat a random line: copying is what a small model learns last, and everything that is extracted is a copy."""
    bank = writer.bank()
    facts = writer.facts(bank)
    words = [
        facts[slot].rpartition("|")[2] for slot in writer.random.sample(sorted(facts), writer.random.randint(3, 7))
    ]
    line = writer.random.choice((" ", ", ", " / ")).join(words)
    return render(
        [*_system("Repeat the line."), {"role": "user", "content": line}, {"role": "assistant", "content": line}]
    )


def naming_drill(writer: Writer) -> list[tuple[str, bool]]:
    """One line and what it says of intent or mood: four times as many labels in a text as among whole messages."""
    case, fields = writer.line()
    user = {"role": "user", "content": case.message}
    return render([*_system(", ".join(fields)), user, {"role": "assistant", "content": answer(case.labels, fields)}])


def wanted_fields(writer: Writer) -> tuple[str, ...]:
    roll = writer.random.random()
    if roll < 0.6:
        return FIELDS
    if roll < 0.72:
        return TRIAGE
    if roll < 0.84:
        return EXTRACTION
    return tuple(writer.random.sample(FIELDS, writer.random.randint(1, len(FIELDS))))


def reply(writer: Writer, case: Case) -> str:
    """The short reply that the shop would send, in the customer's language: thanks, the facts, the next step, no promise."""
    labels, language = case.labels, str(case.labels["language"])
    bank = writer.banks[language]
    one, many, thing, joint = ABOUT[language]
    orders = labels["order_id"]
    about = (
        many.format(joint.join(orders))
        if isinstance(orders, list)
        else one.format(orders)
        if orders
        else thing.format(labels["product"])
        if labels["product"]
        else ""
    )
    opening = bank.pick(writer.random, "reply opening")
    action = bank.pick(writer.random, f"reply {labels['intent']}")
    said = action[0].upper() + action[1:] + ("" if action[-1] in ".!?" else ".")
    return f"{dear(language, labels['name'])}, {opening}{about}. {said}"


def dear(language: str, name: object) -> str:
    named, unnamed = DEAR[language]
    return named.format(name) if name else unnamed


def tool_talk(writer: Writer, case: Case) -> list[tuple[str, bool]]:
    """With a tool in reach: one call for the first order that is named; without an order a reply; after the tool's answer its status, told."""
    orders, language = case.labels["order_id"], str(case.labels["language"])
    order = orders[0] if isinstance(orders, list) else orders
    system = _system(writer.random.choice(REPLY_SYSTEMS))
    user = {"role": "user", "content": case.message}
    if order is None:
        return render([*system, user, {"role": "assistant", "content": reply(writer, case)}], tools=True)
    call = f"<tool_call>{json.dumps({'name': 'look_up_order', 'arguments': {'order_id': order}}, ensure_ascii=False)}</tool_call>"
    messages = [*system, user, {"role": "assistant", "content": call}]
    if writer.chance(0.4):
        bank = writer.banks[language]
        status = bank.pick(writer.random, "status")
        told = bank.pick(writer.random, "reply status").replace("{order}", order).replace("{status}", status)
        messages.append(
            {"role": "tool", "content": json.dumps({"order_id": order, "status": status}, ensure_ascii=False)}
        )
        messages.append(
            {"role": "assistant", "content": f"{dear(language, case.labels['name'])}, {told[0].upper() + told[1:]}."}
        )
    return render(messages, tools=True)


def outside(writer: Writer) -> list[tuple[str, bool]]:
    """What is not the job gets one sentence, whatever the system prompt; as JSON it is `other`, of nobody and nothing."""
    bank = writer.bank()
    foreign = writer.chance(0.25)
    asked = (
        writer.banks["en"].pick(writer.random, "outside foreign") if foreign else bank.pick(writer.random, "outside")
    )
    language = "en" if foreign else bank.language
    user = {"role": "user", "content": asked.replace("\\n", "\n")}
    if writer.chance(0.2):
        nothing = dict.fromkeys(FIELDS) | {
            "department": "service",
            "intent": "other",
            "urgency": "normal",
            "sentiment": "neutral",
            "language": None if foreign else language,
        }
        return render(
            [
                *_system(writer.random.choice(JSON_SYSTEMS)),
                user,
                {"role": "assistant", "content": answer(nothing, FIELDS)},
            ]
        )
    return render(
        [*_system(writer.random.choice(REPLY_SYSTEMS)), user, {"role": "assistant", "content": CLOSED[language]}],
        tools=writer.chance(0.15),
    )


def _system(text: str) -> list[Message]:
    return [{"role": "system", "content": text}] if text else []
