"""What providers say that was used and what it cost: their exports, read into one form. Pure: text in, entries out.

Rules: a format is recognised by its own words, never by the file's name; columns are found by name, because they come and go; money is exact, and
how far it was rounded is kept with it; what is no token (searches, storage, tax) is an entry too, so that sums hold. What cannot be read is an
error that names its place.
"""

from __future__ import annotations

from freehold.pricing.statements.entry import Entry, Statement, normal, unreadable
from freehold.pricing.statements.reading import read

__all__ = ["Entry", "Statement", "normal", "read", "unreadable"]
