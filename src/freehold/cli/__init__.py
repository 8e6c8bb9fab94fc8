"""The command line: a door. One file for each noun, no logic of its own.

What it knows: arguments, and how to say things to a person or (with --json) to a program.
What it does not know: anything that a library user could not call too.
May import: every room. Its verb: `main`.
"""
