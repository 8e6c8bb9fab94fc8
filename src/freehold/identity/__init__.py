"""Who may call.

What it is: callers' keys, kept as peppered hashes, and their check in memory.
What it knows: what was declared on a key (class, workload, budget).
What it does not know: what the class means, or what the key is used for.
May import: kernel, wire. Its verb: `find`.
"""
