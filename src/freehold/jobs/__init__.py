"""Long work that survives a crash.

What it is: files that callers hand in, batches of calls over them, and the runner that takes them up again wherever it was left.
What it knows: lines, statuses, how to go on; content is in the sealed store and nowhere else.
What it does not know: who may call what, where a call goes and what it costs: it asks through a callable that it is handed.
May import: kernel, wire, content. Its verb: `run`.
"""
