"""Train and load hearth's byte-level BPE.

Rules: a space is always a token of its own, and so is a digit: then the same word or number has the
same tokens wherever it stands, which is what makes copying it out of a message learnable. llama.cpp
splits with its `smollm` rule; because no merge crosses a space or a digit, both give equal tokens
(the parity test holds it).
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from conversations import conversation
from grammar import Writer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZE = 2048


def train(path: Path, *, seed: int = 7, conversations: int = 20_000) -> Tokenizer:
    """Learn the vocabulary from training text and write it to path (Hugging Face tokenizers JSON)."""
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
        vocab_size=SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    writer = Writer(seed)
    texts = ("".join(text for text, _ in conversation(writer)) for _ in range(conversations))
    tokenizer.train_from_iterator((piece for text in texts for piece in _without_marks(text)), trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


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
    for mark in SPECIAL:
        text = text.replace(mark, "\0")
    return [part for part in text.split("\0") if part]
