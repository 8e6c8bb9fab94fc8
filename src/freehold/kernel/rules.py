"""What a company looks for beside what everybody does: words and patterns of its own."""

from __future__ import annotations

import re
from pathlib import Path

from freehold.kernel import schema
from freehold.kernel.classes import Class
from freehold.kernel.problems import NAME, Wrong
from freehold.kernel.snapshot import Custom, Detection


def detection_of(spec: schema.Detection, folder: Path) -> Detection:
    """What detection looks for, and what that raises to. folder: of the configuration, for lists of words. Raises Wrong."""
    custom = []
    for kind, tables in (("words", spec.words), ("patterns", spec.patterns)):
        for name, table in tables.items():
            path = ("detection", kind, name)
            if not NAME.match(name):
                raise Wrong(path, f"{name!r} cannot be a rule's name", "use letters, digits, '.', '_' and '-'")
            custom.append(_custom(path, name, table, folder))
    raises = {type_: Class.parse(label) for type_, label in spec.raises.items()}
    return Detection(raises, frozenset(map(Class.parse, spec.opaque)), tuple(custom))


def _custom(path: tuple[str, ...], name: str, table: schema.WordList | schema.Pattern, folder: Path) -> Custom:
    raises = Class.parse(table.raises)
    if isinstance(table, schema.Pattern):
        try:
            matches_nothing = re.compile(table.pattern).match("")
        except (re.error, RecursionError) as error:
            raise Wrong((*path, "pattern"), f"not a regular expression: {error}", "see Python's re") from None
        if matches_nothing or not table.pattern.isascii():
            raise Wrong((*path, "pattern"), "matches where nothing is, or is not ASCII", "say what must be there")
        return Custom(name, raises, pattern=table.pattern)
    words = list(table.words)
    if table.file is not None:
        try:
            words += Path(folder, table.file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Wrong(
                (*path, "file"),
                f"the file {table.file!r} cannot be read ({type(error).__name__})",
                "check the path",
            ) from None
    kept = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if not kept or min(map(len, kept)) < 2 or len(kept) > 10_000:
        raise Wrong(
            path,
            f"{name!r} needs from 1 to 10,000 words of at least two characters",
            "add words, or a file with one a line",
        )
    return Custom(name, raises, words=kept)
