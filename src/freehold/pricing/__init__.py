"""What a call costs: before (quote) and after (charge), as exact decimals.

What it is: the dated, sourced price book and the arithmetic over it. Pure.
What it knows: rates per token class, tiers per request, what the sources disagree on.
What it does not know: budgets, receipts, providers' addresses.
May import: kernel, wire. Its verbs: `quote`, `charge`.
"""
