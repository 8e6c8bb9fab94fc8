"""Write the model's card from what was measured, and the curve of its training.

    python card.py --from build --to .

Every figure in the card comes from a file that a script of this folder wrote: run.json and log.csv (train.py), evaluation.json (evaluate.py),
baselines.json (baselines.py), hearth.gguf (gguf_file.py). What was tried, and what did not help, stands in TRIED.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from evaluate import rows_of

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "hearth"  # so that one run draws one file
from matplotlib import pyplot as plt  # noqa: E402

HERE = Path(__file__).parent
TEXT = """# hearth

The built-in model: {parameters:,} parameters, Llama architecture ({layers} layers, width {width}, {heads} heads, {kv_heads} key/value heads, feed-forward {hidden}, vocabulary {vocab:,}, context {context:,}), tied embeddings,
byte-level BPE, Q8_0, {megabytes:.1f} MB. Trained from scratch by `make hearth` on text that `grammar.py` writes from the phrase banks in `bank/`; no customer's text and no other model's weights were used. Apache-2.0.

**Job.** From a customer's message in English, German, Spanish or French: triage (department, intent, urgency, sentiment, language) and extraction (name, order numbers, amount, date, product, phone, e-mail) as JSON; a short
reply; one tool call (`look_up_order`). What each label means: [LABELS.md](LABELS.md). To anything else it is to say in one sentence that it is not its job.

**Data.** {lines:,} phrases, names, articles and forms in four languages, put together with values of many shapes, noise and layouts. Training, validation and test share no phrase, no person's name, no make, no shape of an
order number, a date, a telephone number or a way of writing a currency, and no article that training names is named in the others. They share months, the labels of web forms, and the few steps that replies tell.
The handwritten set ({handwritten} messages, {outside} prompts outside the job) was written by hand from [LABELS.md](LABELS.md) alone, by somebody who did not see the banks, and never trained on.

**Training.** Seed {seed}; {steps:,} steps, {tokens:.1f} million tokens with padding; Muon and AdamW; {threads} threads of {machine}, {minutes:.0f} minutes of wall time. Digest of banks, tokenizer and text `{data}`; file digest `{digest}`.
The curve: [training-curve.svg](training-curve.svg); its numbers: [training-log.csv](training-log.csv). What was tried: [TRIED.md](TRIED.md).

## Measured

As served (Q8_0, greedy, one CPU core, under the schema unless it says otherwise), with 95 % Wilson intervals; F1 counts exact values. Beside it simpler means: a linear classifier over TF-IDF that learned from
{baseline_train:,} training messages (what it cannot do, extraction, is the regular expressions'), regular expressions, and the commonest label. `make hearth` measures all of it; on its own:
`python evaluate.py --model hearth.gguf` and `python baselines.py`.

**{handwritten} messages written by hand**

{on_handwritten}

**{test} messages of templates, words, names and shapes that training never saw**

{on_test}

To {closed} of {outside} prompts outside the job it said so, in one sentence. Speed on one core of {served_on}, nothing cached: first token of a triage {first:.0f} ms in the
median ({first95:.0f} ms at the 95th percentile), then {triage_rate:.0f} tokens a second under the schema, {reply_rate:.0f} in replies; {resident:.0f} MB resident.

**Parity.** `parity.py` holds tokens equal and the likeliest next token's log-probability within 0.05 (F32 weights) and 0.35 (Q8_0) of the training framework's on 40 texts.

## What it is not

- A general model. It has read nothing but generated support mail; it knows no facts, no shop and no fifth language.
- Sure of itself. The tables say what it gets wrong, most of it in messages that no template resembles. Put a bigger model beside it: `freehold verdict` measures the two on your own messages and says which of your workloads, or
  which part of one, needs the bigger, and a `[workloads.NAME]` whose `targets` name it gets it. A list of targets (`["rack/llama-3.3-70b", "builtin/hearth"]`) is tried in its order, so hearth last is what answers when the other does not.
- A judge of what it replies. It names the customer and the orders and promises nothing; the step that it announces is often another department's, and whether the shop can help, it does not know. Let people send its replies.
"""


def table(columns: dict[str, dict[str, str]]) -> str:
    names = list(columns)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    lines += [
        f"| {row} | " + " | ".join(columns[name].get(row, "–") for name in names) + " |" for row in columns[names[0]]
    ]
    return "\n".join(lines)


def curve(log: Path, to: Path) -> None:
    """Loss and exact answers over tokens, two panels."""
    rows = [[float(cell) for cell in row] for row in csv.reader(log.open())]
    tokens = [row[1] / 1e6 for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(tokens, [row[2] for row in rows], label="training (a tenth of the prompt, answers)")
    left.plot(tokens, [row[3] for row in rows], label="validation, answers")
    left.set(xlabel="million tokens", ylabel="loss", yscale="log")
    right.plot(tokens, [row[4] for row in rows], label="triage exact, validation")
    right.plot(tokens, [row[5] for row in rows], label="all twelve exact, validation")
    right.set(xlabel="million tokens", ylim=(0, 1))
    for panel in (left, right):
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, metadata={"Date": None})


def facts(folder: Path) -> dict[str, Any]:
    """What the card says, by the names that its text has for it."""
    run, found, simple = (
        json.loads((folder / name).read_text()) for name in ("run.json", "evaluation.json", "baselines.json")
    )
    model = (folder / "hearth.gguf").read_bytes()
    right, count = found["outside"]["outside the job, said so"]
    pace = found["speed"]

    def beside(name: str) -> str:
        others = {each: simple["columns"][f"{each}, {name}"] for each in ("TF-IDF + linear", "regex", "majority")}
        return table({"hearth": rows_of(found[name]), **others})

    return {
        **run,
        "megabytes": len(model) / 1e6,
        "digest": hashlib.sha256(model).hexdigest(),
        "on_test": beside("test"),
        "on_handwritten": beside("handwritten"),
        "test": found["test"]["count"],
        "handwritten": found["handwritten"]["count"],
        "outside": count,
        "closed": right,
        "first": pace["first token, ms"],
        "first95": pace["first token, p95 ms"],
        "triage_rate": pace["tokens a second, triage"],
        "reply_rate": pace["tokens a second, reply"],
        "resident": pace["resident, MB"],
        "served_on": pace["machine"],
        "baseline_train": simple["train"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("build"))
    parser.add_argument("--to", type=Path, default=HERE)
    options = parser.parse_args()
    (options.to / "CARD.md").write_text(TEXT.format(**facts(options.folder)), encoding="utf-8")
    (options.to / "training-log.csv").write_text((options.folder / "log.csv").read_text())
    curve(options.folder / "log.csv", options.to / "training-curve.svg")


if __name__ == "__main__":
    main()
