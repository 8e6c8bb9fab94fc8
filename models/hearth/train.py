"""Train hearth from scratch on the CPU. Resumable: run it again and it goes on where it stopped.

    python train.py --out build --steps 3800 --threads 1

Writes build/tokenizer.json, build/checkpoint.pt (weights, optimiser, step) and build/log.csv
(step, tokens, loss, validation loss, seconds).
Rules: the text of a step is a function of the seed and the step alone, so a resumed run sees the
same data; validation is another seed; test words are never drawn here.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

import tokenizer as bpe
from conversations import conversation
from grammar import Writer
from model import Hearth, Shape
from muon import Muon

SEED = 20261123
CHUNK = 32  # batches drawn and length-sorted together, so that padding is small
PROMPT_WEIGHT = 0.1
VALIDATION_SEED = 999_999_999
DRILL_STEPS = 640  # copying is learned first: half of the first steps' conversations are drills


def batches(tokenizer: Tokenizer, chunk: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Draw one chunk: CHUNK batches of (tokens, weights), each (size, length), padded to its longest."""
    writer = Writer(SEED + chunk)
    drill = 0.5 if chunk * CHUNK < DRILL_STEPS else 0.05
    rows = sorted(
        (bpe.encode(tokenizer, conversation(writer, drill=drill)) for _ in range(CHUNK * size)),
        key=lambda row: len(row[0]),
    )
    out = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        length = min(max(len(ids) for ids, _ in part), 768)
        tokens = torch.zeros(size, length, dtype=torch.long)
        weights = torch.zeros(size, length)
        for at, (ids, learned) in enumerate(part):
            ids, learned = ids[:length], learned[:length]
            tokens[at, : len(ids)] = torch.tensor(ids)
            weights[at, : len(ids)] = torch.tensor([1.0 if yes else PROMPT_WEIGHT for yes in learned])
        out.append((tokens, weights))
    writer.random.shuffle(out)
    return out


def loss_of(model: Hearth, tokens: Tensor, weights: Tensor) -> Tensor:
    logits = model(tokens[:, :-1])
    each = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    weight = weights[:, 1:].flatten()
    return (each * weight).sum() / weight.sum()


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up 2 %, flat, then linear to zero over the last 35 %."""
    warm, cool = 0.02 * steps, 0.35 * steps
    return min(1.0, (step + 1) / warm, max(0.0, (steps - step) / cool))


def optimisers(model: Hearth) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or name == "embed.weight"]
    return [
        Muon(matrices, lr=0.02),
        torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def validate(model: Hearth, held: list[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    with torch.no_grad():
        total = sum(loss_of(model, tokens, (weights == 1).float()).item() for tokens, weights in held)
    model.train()
    return total / len(held)


def run(out: Path, *, steps: int, size: int, every: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = out / "tokenizer.json"
    tokenizer = bpe.load(vocabulary) if vocabulary.exists() else bpe.train(vocabulary)
    torch.manual_seed(SEED)
    model = Hearth(Shape(vocab=tokenizer.get_vocab_size()))
    optimizers = optimisers(model)
    peaks = [[group["lr"] for group in opt.param_groups] for opt in optimizers]
    checkpoint = out / "checkpoint.pt"
    step, tokens_seen, seconds = 0, 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        for opt, state in zip(optimizers, saved["optimizers"], strict=True):
            opt.load_state_dict(state)
        step, tokens_seen, seconds = saved["step"], saved["tokens"], saved["seconds"]
    held = batches(tokenizer, VALIDATION_SEED, size)[:16]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, from step {step} to {steps}", flush=True)
    started, running = time.monotonic() - seconds, math.nan
    pending = batches(tokenizer, step // CHUNK, size)[step % CHUNK :]
    while step < steps:
        if not pending:
            pending = batches(tokenizer, step // CHUNK, size)
        tokens, weights = pending.pop(0)
        for opt, peak in zip(optimizers, peaks, strict=True):
            for group, lr in zip(opt.param_groups, peak, strict=True):
                group["lr"] = lr * rate(step, steps)
            opt.zero_grad()
        loss = loss_of(model, tokens, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in optimizers:
            opt.step()
        step, tokens_seen = step + 1, tokens_seen + tokens.numel()
        running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
        if step % every == 0 or step == steps:
            seconds = time.monotonic() - started
            checked = validate(model, held)
            with (out / "log.csv").open("a") as log:
                log.write(f"{step},{tokens_seen},{running:.4f},{checked:.4f},{seconds:.0f}\n")
            print(
                f"step {step}  {tokens_seen / 1e6:.2f} M tokens  loss {running:.4f}  validation {checked:.4f}  {seconds:.0f} s",
                flush=True,
            )
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step,
                "tokens": tokens_seen,
                "seconds": seconds,
                "shape": model.shape.as_dict(),
                "steps": steps,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--steps", type=int, default=3800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run(options.out, steps=options.steps, size=options.batch, every=options.every)


if __name__ == "__main__":
    main()
