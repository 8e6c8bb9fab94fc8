"""The spine: HTTP in, one call through seven rooms, exactly one receipt, HTTP out.

What it is: the ASGI apps, admission, the pipeline, discovery, metrics, and `build`, where everything is composed.
What it knows: the order of the steps, and how to speak HTTP to callers.
What it does not know: how zones are decided, what a token costs, how a record is chained.
May import: every room below it. Its verb: `serve`.
"""
