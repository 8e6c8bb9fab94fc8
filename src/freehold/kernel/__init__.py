"""The ground every room stands on.

What it is: errors, ids, units, and configuration read into one frozen `Snapshot`.
What it knows: the words of the configuration file and how to say what is wrong with it.
What it does not know: sockets, storage, prices, rulings.
May import: nothing of Freehold. Its verb: `load`.
"""
