"""Which target to try, in which order.

What it is: `plan` turns a call, a ruling and the fleet's state into ordered attempts. Pure.
What it knows: names, abilities, health as a plain value.
What it does not know: how zones are decided, what anything costs, how bytes are sent.
May import: kernel, wire, perimeter, pricing. Its verb: `plan`.
"""
