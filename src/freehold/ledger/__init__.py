"""What happened, kept so that it can be proven.

What it is: the append-only log of intents and settlements, its recovery after a crash, budgets, and an index that can be rebuilt.
What it knows: records, hashes, disks, money already spent.
What it does not know: prompts and answers (only keyed commitments to them), or why a call was made.
May import: kernel, wire, perimeter, pricing. Its verbs: `intend`, `settle`.
"""
