"""Train and load hearth's byte-level BPE.

Rules: a space in front of a word is a token of its own, and so is a digit: then the same word or number has the same tokens wherever it stands,
which is what makes copying it out of a message learnable. The exception are the WORDS most frequent words that no name of an article, a make
or a person begins with ("the", "und", "de"), and a quotation mark: they take their space along, as the last merges of all, which makes a text a quarter shorter. The
names of the fields, with their quotation marks, are one token each (FIXED), so an answer has a third fewer. llama.cpp splits with its
`smollm` rule; the merges are the same, so both give equal tokens (the parity test holds it).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from bank import LANGUAGES, drawn
from conversations import conversation
from grammar import FIELDS, INTENTS, Writer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FIXED = (  # one token each, wherever they stand: the names of fields with what is around them, and the intents that are no plain word
    *(f'{before}"{name}": ' for name in FIELDS for before in (" ", "{")),
    *(intent for intent in INTENTS if "_" in intent),
)
SIZE, WORDS = 6144, 900
SPACE = "\u0120"  # how byte-level BPE writes a space


def train(path: Path, *, seed: int = 7, conversations: int) -> Tokenizer:
    """Learn the vocabulary from training text and write it to path (Hugging Face tokenizers JSON)."""
    writer = Writer(seed)
    texts = ["".join(text for text, _ in conversation(writer)) for _ in range(conversations)]
    pieces = [piece for text in texts for piece in _without_marks(text)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(" "), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - WORDS - len(FIXED),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces, trainer)
    whole = json.loads(tokenizer.to_str())
    whole["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
    vocabulary = whole["model"]["vocab"]
    for word in _frequent(pieces, vocabulary):
        vocabulary[SPACE + word] = len(vocabulary)
        whole["model"]["merges"].append([SPACE, word])
    for text in FIXED:
        number = len(vocabulary) + sum(one["id"] >= len(vocabulary) for one in whole["added_tokens"])
        whole["added_tokens"].append({"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False})  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    return load(path)


def _frequent(pieces: list[str], vocabulary: dict[str, int]) -> list[str]:
    """The words that take their space along: one token each, and no name of an article, a person or a make begins with them."""
    named = {
        line.split()[section == "product"].lower()
        for language in LANGUAGES
        for section in ("product", "brand", "first")
        for line in drawn(language, "train")[section]
    }
    counts = Counter(word for piece in pieces for word in re.findall(r"(?<= )(?:[^\W\d_]{2,}|\")", piece))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    written = [
        whole.pre_tokenize_str(word)[0][0] for word, _ in counts.most_common(20_000) if word.lower() not in named
    ]
    return [word for word in written if word in vocabulary][:WORDS]


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def encode(tokenizer: Tokenizer, pieces: list[tuple[str, bool]]) -> tuple[list[int], list[bool]]:
    """Encode rendered pieces; returns token ids and, for each, whether it is learned."""
    ids: list[int] = []
    learned: list[bool] = []
    for text, is_learned in pieces:
        piece = tokenizer.encode(text).ids
        ids += piece
        learned += [is_learned] * len(piece)
    return ids, learned


def _without_marks(text: str) -> list[str]:
    for mark in (*SPECIAL, *FIXED):
        text = text.replace(mark, "\0")
    return [part for part in text.split("\0") if part]
