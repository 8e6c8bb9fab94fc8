"""Make a worse sibling of a GGUF model: the numbers of chosen tensors become nought. For showing a verdict on two real models without anybody's key.

    python handicap.py --model hearth.gguf --to sibling.gguf --tensors blk.4.attn_output.weight

Only the bytes of those tensors change, so the file is as valid as before. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import BinaryIO

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value, by its type
_STRING, _ARRAY = 8, 9
_BLOCKS = {0: (4, 1), 1: (2, 1), 8: (34, 32)}  # F32, F16, Q8_0: bytes of a block, numbers in it
_ALIGNMENT = 32


def read(file: BinaryIO, kind: str) -> int:
    found: int = struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))[0]
    return found


def text(file: BinaryIO) -> str:
    return file.read(read(file, "Q")).decode()


def skip(file: BinaryIO, kind: int) -> None:
    """Pass over one value of the file's metadata."""
    if kind == _STRING:
        file.seek(read(file, "Q"), 1)
    elif kind == _ARRAY:
        inner, count = read(file, "I"), read(file, "Q")
        if inner in _SIZES:
            file.seek(_SIZES[inner] * count, 1)
        else:
            for _ in range(count):
                skip(file, inner)
    else:
        file.seek(_SIZES[kind], 1)


def places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes are, and how many."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF" or read(file, "I") != 3:
            raise SystemExit(f"{path} is no GGUF file of version 3")
        tensors, pairs = read(file, "Q"), read(file, "Q")
        for _ in range(pairs):
            text(file)
            skip(file, read(file, "I"))
        found = {}
        for _ in range(tensors):
            name, count = text(file), 1
            for _ in range(read(file, "I")):
                count *= read(file, "Q")
            size, numbers = _BLOCKS[read(file, "I")]
            found[name] = (read(file, "Q"), count // numbers * size)
        start = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
        return {name: (start + offset, size) for name, (offset, size) in found.items()}


def handicap(model: Path, to: Path, tensors: tuple[str, ...]) -> None:
    data, where = bytearray(model.read_bytes()), places(model)
    for name in tensors:
        at, size = where[name]
        data[at : at + size] = bytes(size)
    to.write_bytes(data)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path, required=True)
    asked.add_argument("--to", type=Path, required=True)
    asked.add_argument("--tensors", nargs="+", required=True)
    given = asked.parse_args()
    handicap(given.model, given.to, tuple(given.tensors))
