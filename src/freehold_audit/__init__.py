"""Verify an exported bundle of Freehold's log, on a machine that never saw Freehold.

What it is: a reader of the format in docs/reference/audit-format.md, with `cryptography` as its only dependency; nothing of Freehold is imported.
What it knows: hashes, signatures, and what the records of a well-behaved gateway say of one another.
What it does not know: prompts and answers, which are not there.
Its verb: `verify`.
"""

from freehold_audit.report import Finding, Report
from freehold_audit.verifying import Expected, verify

__all__ = ["Expected", "Finding", "Report", "verify"]
