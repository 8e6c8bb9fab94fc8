"""Check that llama.cpp computes what the training framework computes, and write what the project's suite checks later without PyTorch.

    python parity.py --from build --model hearth.gguf --golden ../../tests/models/parity.json

Tokens must be equal for every text. The likeliest next token of the one must be the other's, and as likely: log-probabilities within 0.05 for F32 weights
(llama.cpp keeps keys and values as F16), within 0.35 for Q8_0; another token may be the likeliest only where the two are as near as that.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

import gguf_file
import tokenizer as bpe
from conversations import conversation
from evaluate import Served
from grammar import Writer

TEXTS = 40


def next_token(served: Served, text: str) -> tuple[int, float]:
    """The likeliest next token after a raw text, and its natural log-probability, as llama.cpp sees it."""
    answer = served.ask(
        "completion", {"prompt": text, "n_predict": 1, "temperature": 0, "n_probs": 1, "cache_prompt": False}
    )
    first = answer["completion_probabilities"][0]["top_logprobs"][0]
    return int(first["id"]), float(first["logprob"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("build"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--golden", type=Path, required=True)
    options = parser.parse_args()
    network, tokenizer, writer = (
        gguf_file.load(options.folder),
        bpe.load(options.folder / "tokenizer.json"),
        Writer(5, "test"),
    )
    texts = []
    for _ in range(TEXTS):
        pieces = conversation(writer)
        at = next(at for at, (_, learned) in enumerate(pieces) if learned)
        texts.append("".join(text for text, _ in pieces[:at]) + pieces[at][0][: writer.random.randint(1, 30)])
    golden = []
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "full.gguf"
        gguf_file.write(options.folder, full, gguf_file.Kind.F32)
        for path, tolerance in ((full, 0.05), (options.model, 0.35)):
            worst = 0.0
            with Served(path) as served:
                for text in texts:
                    ids = tokenizer.encode(text).ids
                    theirs = served.ask("tokenize", {"content": text, "parse_special": True})["tokens"]
                    assert theirs == ids, f"tokens differ for {text!r}"
                    with torch.no_grad():
                        logs = torch.log_softmax(network(torch.tensor([ids]))[0, -1], -1)
                    number, logprob = next_token(served, text)
                    ours, best = float(logs[number]), float(logs.max())
                    worst = max(worst, abs(ours - logprob))
                    assert max(abs(ours - logprob), best - ours) < tolerance, f"{path.name}: {best}, {ours} against {logprob} after {text!r}"  # fmt: skip
                    if path is options.model:
                        near = {str(one): round(float(logs[one]), 4) for one in (logs > best - tolerance).nonzero()[:, 0].tolist()}  # fmt: skip
                        golden.append({"text": text, "tokens": ids, "next": near})
            print(f"{path.name}: {TEXTS} texts, tokens equal, largest difference of the log-probability {worst:.4f}")
    options.golden.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
