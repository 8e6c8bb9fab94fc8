"""Write the model's card from what was measured, and the curve of its training.

    python card.py --from build --model build/hearth.gguf

Every figure in the card comes from a file that a script of this folder wrote: build/run.json and build/log.csv (train.py), evaluation.json (evaluate.py),
baselines.json (baselines.py). What was tried, and what did not help, stands in TRIED.md.
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
reply; one tool call (`look_up_order`). What each label means: [LABELS.md](LABELS.md). To anything else it says in one sentence that it is not its job.

**Data.** {lines:,} phrases in four languages, put together with values of many shapes, noise and layouts. Training, validation and test share no phrase, name, product, make or shape of a number. The handwritten set
({handwritten} messages, {outside} prompts outside the job) was written by hand from LABELS.md alone, by somebody who did not see the banks, and never trained on.

**Training.** Seed {seed}; {steps:,} steps, {tokens:.1f} million tokens with padding; Muon and AdamW; {threads} CPU threads, {minutes:.0f} minutes of wall time. Data digest `{data}`; file digest `{digest}`.
The curve: [training-curve.svg](training-curve.svg); its numbers: [training-log.csv](training-log.csv). What was tried: [TRIED.md](TRIED.md).

## Measured

As served (Q8_0, greedy, one CPU core), with 95 % Wilson intervals; F1 counts exact values. `make hearth` prints it; on its own: `python evaluate.py --model hearth.gguf` and `python baselines.py`.

{table}

Outside the job it said so to {closed}. Speed on one core, nothing cached, beside {machine}: first token of a triage {first:.0f} ms in the median ({first95:.0f} ms at the 95th percentile), {rate:.0f} tokens a second, {resident:.0f} MB resident.

Simpler means, on the same sets (the linear classifier learned from {baseline_train:,} training messages; extraction is the regular expressions'):

{baselines}

**Parity.** `parity.py` holds tokens equal and the likeliest next token's log-probability within 0.05 (F32 weights) and 0.35 (Q8_0) of the training framework's on 40 texts.

## What it is not

- A general model. It has read nothing but generated support mail; it knows no facts, no shop and no fifth language.
- Sure of itself. The table is what it gets wrong; a message that no template resembles is where it does. Let people look at what matters, and give a bigger model the calls that need it: name it behind hearth in
  `targets = ["builtin/hearth", "rack/llama-3.3-70b"]`, or measure the two against each other with `freehold verdict`.
- A judge of replies' content. It names the facts that it has extracted and promises nothing; whether the shop can help, it does not know.
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


def facts(folder: Path, model: Path) -> dict[str, Any]:
    run = json.loads((folder / "run.json").read_text())
    found = json.loads((HERE / "evaluation.json").read_text())
    simple = json.loads((HERE / "baselines.json").read_text())
    right, count = found["outside"]["outside the job, said so"]
    pace = found["speed"]
    return {
        **run,
        "megabytes": model.stat().st_size / 1e6,
        "digest": hashlib.sha256(model.read_bytes()).hexdigest(),
        "table": table({f"{name} ({found[name]['count']})": rows_of(found[name]) for name in ("test", "handwritten")}),
        "handwritten": found["handwritten"]["count"],
        "outside": count,
        "closed": f"{right} of {count} prompts",
        "first": pace["first token, ms"],
        "first95": pace["first token, p95 ms"],
        "rate": pace["tokens a second"],
        "resident": pace["resident, MB"],
        "machine": pace["machine"],
        "baseline_train": simple["train"],
        "baselines": table(simple["columns"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("build"))
    parser.add_argument("--model", type=Path, required=True)
    options = parser.parse_args()
    (HERE / "CARD.md").write_text(TEXT.format(**facts(options.folder, options.model)), encoding="utf-8")
    (HERE / "training-log.csv").write_text((options.folder / "log.csv").read_text())
    curve(options.folder / "log.csv", HERE / "training-curve.svg")


if __name__ == "__main__":
    main()
