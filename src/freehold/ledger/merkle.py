"""A Merkle tree that grows (RFC 6962 §2.1): leaves in, roots out. It keeps a hash for each power of two, so it costs next to nothing.

What it does not know: what leaves mean. Proofs are the verifier's, which is a package of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """The tree over the leaf hashes so far. `peaks` are the roots of its full subtrees, the largest first: (leaves, hash)."""

    __slots__ = ("peaks", "size")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self.peaks: tuple[tuple[int, bytes], ...] = ()
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash (32 bytes)."""
        peaks, width = list(self.peaks), 1
        while peaks and peaks[-1][0] == width:
            leaf = node(peaks.pop()[1], leaf)
            width *= 2
        self.peaks = (*peaks, (width, leaf))
        self.size += 1

    def root(self) -> bytes:
        """The root hash of everything so far."""
        if not self.peaks:
            return EMPTY
        found = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            found = node(peak, found)
        return found


def inclusion(leaves: Sequence[bytes], at: int) -> list[bytes]:
    """The audit path of a leaf (from 0) in the tree over all of them, from the bottom up (RFC 6962 §2.1.1)."""
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if at < split:
        return [*inclusion(leaves[:split], at), Tree(leaves[split:]).root()]
    return [*inclusion(leaves[split:], at - split), Tree(leaves[:split]).root()]
