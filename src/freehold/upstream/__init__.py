"""The door: the only room that opens a connection that leaves the process for anything but the configured database.

What it is: provider rows, the one-method `Transport`, one attempt (`send`), health, and probes.
What it knows: addresses, keys, proxies, deadlines.
What it does not know: why a call may go where its grant says, what it costs, who asked.
May import: kernel, wire, perimeter. Its verb: `send`.
"""
