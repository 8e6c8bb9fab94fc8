"""Where a call may go.

What it is: `rule` decides, `grant` permits one attempt, `prove` shows for a whole configuration that no call can leave its zones. Pure.
What it knows: classes, zones, and what was declared on keys and workloads.
What it does not know: which targets are healthy, cheap or good; how bytes are sent.
May import: kernel, wire. Its verb: `rule`.
"""
