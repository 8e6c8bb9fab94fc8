"""What a text holds that is sensitive: credentials, identifiers, names, marks. A second line: what it finds may only raise a class.

What it is: folding of lookalikes, opening of encoded runs, two engines that find candidates, checks that decide, `Scanner.scan`. Pure.
What it knows: how things that must not leave are written.
What it does not know: calls, classes, zones; and no finding ever holds the value that was found.
May import: kernel. Its verb: `scan`.
"""
