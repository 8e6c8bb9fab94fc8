"""Is an open model good enough for this workload?

What it is: datasets, scorers, the statistics of pairs, the verdict, and the runs that bring the answers in.
What it knows: cases, outcomes, margins; how sure a difference is; what would make it lie.
What it does not know: keys, zones, the gateway: it asks models through a callable that it is handed.
May import: kernel, wire, pricing, report, content. Its verb: `decide`.
"""
