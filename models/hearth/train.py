"""Train hearth from scratch on the CPU. Resumable: run it again and it goes on where it stopped.

    python train.py --out build --steps 6500 --threads 2

Writes build/tokenizer.json, build/checkpoint.pt (weights, optimisers, step) and build/log.csv (step, tokens, loss; on
the validation split the loss, the share of exact triage, the share of exact answers; seconds).
Rules: the text of a step is a function of the seed and the step alone, so a resumed run sees the same data, and two runs with one seed, one number
of steps and one number of threads, on one kind of CPU, write the same weights; a checkpoint goes on only with the text, tokenizer, shape and threads that it
began with. Validation draws from lines, names and shapes that training never sees.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

import tokenizer as bpe
import warm
from bank import HERE as BANKS
from bank import LANGUAGES, sections
from conversations import JSON_SYSTEMS, conversation, render
from evaluate import machine
from grammar import EXTRACTION, FIELDS, TRIAGE, Writer, answer
from model import Hearth, Shape
from muon import Muon

SEED = 20261128
CHUNK = 32  # batches drawn and sorted by length together, so that little is padding
BATCH_TOKENS = 3072  # of a step, with padding
PROMPT_SHARE, PROMPT_WEIGHT = (
    0.25,
    0.4,
)  # of the prompt's tokens so many are learned, at this weight: a tenth in all, at a quarter of the cost
LONGEST = 768
TRIAGE_WEIGHT = 4.0  # of the values of triage: few tokens that are hard to learn, beside many that are copied


class Stage(NamedTuple):
    """Up to which step what shares of the conversations are copying and naming drills, and what share of the messages says little but its wish."""

    until: float
    copying: float
    naming: float
    plain: float


STAGES = (
    Stage(200, 1.0, 0.0, 0.0),
    Stage(1500, 0.1, 0.85, 0.8),
    Stage(4500, 0.04, 0.3, 0.4),
    Stage(math.inf, 0.03, 0.08, 0.2),
)

Row = tuple[list[int], list[float]]
Batch = tuple[Tensor, Tensor]


def batches(tokenizer: Tokenizer, writer: Writer, stage: Stage) -> list[Batch]:
    """One chunk of CHUNK batches (tokens, weights), each of at most BATCH_TOKENS."""
    writer.plain = stage.plain
    triage = {tokenizer.token_to_id(text) for text in bpe.FIXED if text.strip(' {":') in TRIAGE}
    others = {tokenizer.token_to_id(text) for text in bpe.FIXED if text.strip(' {":') in EXTRACTION}
    rows: list[Row] = []
    total = 0
    while total < CHUNK * BATCH_TOKENS:
        ids, learned = bpe.encode(tokenizer, conversation(writer, copying=stage.copying, naming=stage.naming))
        weights, is_triage = [], False
        for one, is_learned in zip(ids, learned, strict=True):
            is_triage = is_learned and (one in triage or (is_triage and one not in others))
            at_random = PROMPT_WEIGHT * (writer.random.random() < PROMPT_SHARE)
            weights.append(TRIAGE_WEIGHT if is_triage and one not in triage else 1.0 if is_learned else at_random)
        rows.append((ids[:LONGEST], weights[:LONGEST]))
        total += len(rows[-1][0])
    rows.sort(key=lambda row: len(row[0]))
    out, part = [], list[Row]()
    for row in rows:
        if part and -(-len(row[0]) // 16) * 16 * (len(part) + 1) > BATCH_TOKENS:
            out.append(padded(part))
            part = []
        part.append(row)
    out.append(padded(part))
    writer.random.shuffle(out)
    return out[:CHUNK]


def padded(part: list[Row]) -> Batch:
    length = -(-len(part[-1][0]) // 16) * 16
    tokens, weights = torch.zeros(len(part), length, dtype=torch.long), torch.zeros(len(part), length)
    for at, (ids, each) in enumerate(part):
        tokens[at, : len(ids)] = torch.tensor(ids)
        weights[at, : len(ids)] = torch.tensor(each)
    return tokens, weights


def loss_of(model: Hearth, tokens: Tensor, weights: Tensor) -> Tensor:
    """Mean loss of the tokens that have a weight; only for those are logits made."""
    weight = weights[:, 1:].flatten()
    at = weight.nonzero()[:, 0]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.hidden(tokens[:, :-1]).flatten(0, 1).index_select(0, at)
        logits = hidden @ model.embed.weight.T
    each = F.cross_entropy(logits.float(), tokens[:, 1:].flatten()[at], reduction="none")
    return (each * weight[at]).sum() / weight[at].sum()


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up, flat, then linear to zero over the last 40 %."""
    warm, cool = min(200, 0.02 * steps), 0.4 * steps
    return min(1.0, (step + 1) / warm, max(0.0, (steps - step) / cool))


def optimisers(model: Hearth) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or name == "embed.weight"]
    return [
        Muon(matrices, lr=0.02, decay=0.1),
        torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


@dataclass(frozen=True)
class Checked:
    """On the validation split: loss of answers, and the share of messages whose triage, and whose twelve fields, are exactly right.

    A greedy answer is right if and only if each of its tokens is the likeliest after the right ones before it, so one pass tells.
    """

    loss: float
    triage: float
    whole: float

    def __str__(self) -> str:
        return f"validation {self.loss:.4f}, triage {self.triage:.3f}, whole {self.whole:.3f}"


def held_out(tokenizer: Tokenizer, count: int = 320) -> list[tuple[Tensor, Tensor]]:
    """Messages of the validation split with all fields asked: (tokens, part), part being 1 in the triage of the answer, 2 in the rest, 0 elsewhere."""
    writer, rows = Writer(SEED, "validation"), []
    for _ in range(count):
        case = writer.case()
        system = {"role": "system", "content": JSON_SYSTEMS[0]}
        prompt = (
            "".join(text for text, _ in render([system, {"role": "user", "content": case.message}]))
            + "<|im_start|>assistant\n"
        )
        said = answer(case.labels, FIELDS)
        at = said.index(f' "{EXTRACTION[0]}"')
        pieces = [tokenizer.encode(text).ids for text in (prompt, said[:at], said[at:] + "<|im_end|>")]
        rows.append(([one for ids in pieces for one in ids], [part for part, ids in enumerate(pieces) for _ in ids]))
    rows.sort(key=lambda row: len(row[0]))
    out = []
    for start in range(0, count, 16):
        some = rows[start : start + 16]
        length = min(len(some[-1][0]), LONGEST + 200)
        tokens, parts = (
            torch.zeros(len(some), length, dtype=torch.long),
            torch.zeros(len(some), length, dtype=torch.long),
        )
        for at, (ids, part) in enumerate(some):
            tokens[at, : len(ids)] = torch.tensor(ids[:length])
            parts[at, : len(ids)] = torch.tensor(part[:length])
        out.append((tokens, parts))
    return out


@torch.no_grad()
def validate(model: Hearth, held: list[tuple[Tensor, Tensor]]) -> Checked:
    model.eval()
    loss = count = triage = whole = 0.0
    for tokens, parts in held:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(tokens[:, :-1]).float()
        part, true = parts[:, 1:], tokens[:, 1:]
        each = F.cross_entropy(logits.transpose(1, 2), true, reduction="none")
        loss += (each * (part > 0)).sum().item()
        count += (part > 0).sum().item()
        wrong = logits.argmax(-1) != true
        triage += (~(wrong & (part == 1)).any(1)).sum().item()
        whole += (~(wrong & (part > 0)).any(1)).sum().item()
    model.train()
    messages = sum(len(tokens) for tokens, _ in held)
    return Checked(loss / count, triage / messages, whole / messages)


def data_digest(vocabulary: Path) -> str:
    """SHA-256 over the banks, the tokenizer, and the first thousand conversations."""
    digest = hashlib.sha256()
    for path in (*sorted(BANKS.glob("*.txt")), vocabulary):
        digest.update(path.read_bytes())
    writer = Writer(SEED)
    for _ in range(1000):
        digest.update("".join(text for text, _ in conversation(writer)).encode())
    return digest.hexdigest()


class Run:
    """A training run, new or resumed."""

    def __init__(self, out: Path, shape: Shape, steps: int) -> None:
        began = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        vocabulary = out / "tokenizer.json"
        self.out, self.steps, self.step, self.tokens, self.seconds = out, steps, 0, 0, 0.0
        self.log, self.running = list[str](), math.nan
        self.tokenizer = (
            bpe.load(vocabulary)
            if vocabulary.exists()
            else bpe.train(vocabulary, conversations=min(30_000, 500 * steps))
        )
        torch.manual_seed(SEED)
        torch.use_deterministic_algorithms(True)
        self.model = Hearth(shape)
        self.bag: dict[str, float] = {}
        self.optimizers = optimisers(self.model)
        self.peaks = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self.held = held_out(self.tokenizer)
        self.of = {**shape.as_dict(), "seed": SEED, "threads": torch.get_num_threads(), "data": data_digest(vocabulary)}
        if self.checkpoint.exists():
            self.resume()
        else:
            start, self.bag = warm.embeddings(self.tokenizer, SEED, shape.width, count=min(warm.LINES, 100 * steps))
            self.model.embed.weight.data.copy_(start)
            print("a bag of words, on unseen lines:", self.bag, flush=True)
        self.started = began - self.seconds

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def resume(self) -> None:
        saved = torch.load(self.checkpoint)
        same = all(rate(step, saved["steps"]) == rate(step, self.steps) for step in range(saved["step"]))
        if not same or saved["of"] != self.of:
            raise SystemExit(f"{self.checkpoint} is of another run (its steps, text, tokenizer, shape or threads): remove it, or ask for what it began with")  # fmt: skip
        self.model.load_state_dict(saved["model"])
        for one, state in zip(self.optimizers, saved["optimizers"], strict=True):
            one.load_state_dict(state)
        self.bag, self.log, self.running = saved["bag"], saved["log"], saved["running"]
        self.step, self.tokens, self.seconds = saved["step"], saved["tokens"], saved["seconds"]

    def chunk(self) -> list[Batch]:
        """The batches from this step to the end of its chunk, which is all of the stage that it began in, also for a run that is resumed within it."""
        stage = next(stage for stage in STAGES if self.step - self.step % CHUNK < stage.until)
        return batches(self.tokenizer, Writer(SEED + self.step // CHUNK), stage)[self.step % CHUNK :]

    def learn(self, tokens: Tensor, weights: Tensor) -> float:
        for one, peak in zip(self.optimizers, self.peaks, strict=True):
            for group, lr in zip(one.param_groups, peak, strict=True):
                group["lr"] = lr * rate(self.step, self.steps)
            one.zero_grad()
        loss = loss_of(self.model, tokens, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for one in self.optimizers:
            one.step()
        self.step, self.tokens = self.step + 1, self.tokens + tokens.numel()
        return loss.item()

    def note(self) -> None:
        self.seconds = time.monotonic() - self.started
        checked = validate(self.model, self.held)
        self.log.append(
            f"{self.step},{self.tokens},{self.running:.4f},{checked.loss:.4f},{checked.triage:.4f},{checked.whole:.4f},{self.seconds:.0f}\n"
        )
        (self.out / "log.csv").write_text("".join(self.log))
        print(
            f"step {self.step}  {self.tokens / 1e6:.2f} M tokens  loss {self.running:.4f}  {checked}  {self.seconds:.0f} s",
            flush=True,
        )
        state = {
            "model": self.model.state_dict(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "of": self.of,
            "shape": self.model.shape.as_dict(),
            "steps": self.steps,
            "bag": self.bag,
            "log": self.log,
            "running": self.running,
        }
        (self.out / "run.json").write_text(json.dumps(self.facts(), indent=1) + "\n")
        torch.save(state, self.checkpoint.with_suffix(".part"))
        self.checkpoint.with_suffix(".part").replace(self.checkpoint)

    def facts(self) -> dict[str, object]:
        """What the card says of the run."""
        return {
            **self.of,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "bag": self.bag,
            "steps": self.step,
            "tokens": self.tokens / 1e6,
            "minutes": self.seconds / 60,
            "machine": machine(),
            "lines": sum(len(lines) for language in LANGUAGES for lines in sections(language).values()),
        }

    def go(self, every: int, until: int) -> None:
        print(
            f"{sum(p.numel() for p in self.model.parameters()):,} parameters, from step {self.step} to {self.steps}",
            flush=True,
        )
        pending = list[Batch]()
        while self.step < min(until, self.steps):
            pending = pending or self.chunk()
            loss = self.learn(*pending.pop(0))
            self.running = loss if math.isnan(self.running) else 0.98 * self.running + 0.02 * loss
            if self.step % every == 0 or self.step == min(until, self.steps):
                self.note()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--steps", type=int, default=6500)
    parser.add_argument("--until", type=int, default=10**9, help="stop early, at this step, to go on another day")
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    for name in ("width", "layers", "heads", "kv_heads", "hidden"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Shape(), name))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = Shape(bpe.SIZE, options.width, options.layers, options.heads, options.kv_heads, options.hidden)
    Run(options.out, shape, options.steps).go(options.every, options.until)


if __name__ == "__main__":
    main()
