"""Print the table of STYLE.md for this tree, and fail on a breach. Exceptions live in tools/fences.toml, each with its reason; that file only shrinks.

python tools/fences.py
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MOST = {"function lines": 60, "file lines": 600, "parameters": 6, "positional parameters": 3, "nesting": 4}
# Only these may import inside a function, and only for the reason given at the line.
LAZY = {
    "cli/audit.py",
    "cli/batch.py",
    "cli/forecast.py",
    "cli/main.py",
    "cli/setting.py",
    "cli/top.py",
    "cli/up.py",
    "engines/serve.py",
    "upstream/transport.py",
}
# `except Exception` belongs at the borders: the HTTP edge, the ledger's writer, a worker loop.
BORDERS = {
    "cli/main.py",  # the last catch at the door
    "evals/scorers.py",  # a user's own scorer is anybody's code
    "gateway/admin_app.py",
    "gateway/asking.py",
    "gateway/data_app.py",
    "gateway/nodes.py",
    "gateway/pipeline.py",
    "gateway/reloading.py",
    "gateway/workers.py",
    "jobs/clearing.py",
    "jobs/runner.py",
    "gateway/detecting.py",
}  # the last holds a call inside when a detector fails
_NESTS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> int:
    exceptions = tomllib.loads((ROOT / "tools/fences.toml").read_text())
    allowed = {entry["what"] for entry in exceptions.get("allow", [])}
    found = [(where, what) for path in SOURCES for where, what in breaches(path) if where not in allowed]
    unused = allowed - {where for path in SOURCES for where, _ in breaches(path)}
    print(table())
    for where, what in found:
        print(f"breach: {where}: {what}")
    for where in unused:
        print(f"breach: {where} in tools/fences.toml is no longer needed: remove it")
    return 1 if found or unused else 0


def breaches(path: Path) -> Iterator[tuple[str, str]]:
    name = path.relative_to(ROOT / "src").as_posix().removeprefix("freehold/")
    text = path.read_text()
    tree = ast.parse(text)
    lines = text.count("\n")
    if lines > MOST["file lines"]:
        yield name, f"{lines} lines, at most {MOST['file lines']}"
    for node in ast.walk(tree):
        if isinstance(node, _SCOPES):
            yield from _function(node, f"{name}:{node.name}", name)
        elif isinstance(node, ast.Global):
            yield f"{name}:{node.lineno}", "`global`"
        elif isinstance(node, ast.ExceptHandler) and name not in BORDERS and _catches_all(node):
            yield f"{name}:{node.lineno}", "catch-all `except` away from the borders"


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, where: str, name: str) -> Iterator[tuple[str, str]]:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > MOST["function lines"]:
        yield where, f"{length} lines, at most {MOST['function lines']}"
    arguments = node.args
    is_command = any("command" in ast.dump(d) or "option" in ast.dump(d) for d in node.decorator_list)
    count = len(
        [a for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg not in ("self", "cls")]
    )
    if count > MOST["parameters"] and not is_command:
        yield where, f"{count} parameters, at most {MOST['parameters']}"
    if arguments.kwarg is not None and not node.name.startswith("_") and node.name != "log":
        yield where, "`**kwargs` in a public function"
    depth = max((_depth(child, 0) for child in node.body), default=0)
    if depth > MOST["nesting"]:
        yield where, f"nested {depth} deep, at most {MOST['nesting']}"
    inner = [child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)]
    if inner and name not in LAZY:
        yield where, "import inside a function"


def _depth(node: ast.AST, at: int) -> int:
    here = at + isinstance(node, _NESTS)
    if isinstance(node, (*_SCOPES, ast.Lambda)):
        return at
    below = [_depth(child, here) for child in ast.iter_child_nodes(node) if not _is_elif(node, child)]
    level = [_depth(child, at) for child in ast.iter_child_nodes(node) if _is_elif(node, child)]
    return max([here, *below, *level])


def _is_elif(parent: ast.AST, child: ast.AST) -> bool:
    return isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child]


def _catches_all(node: ast.ExceptHandler) -> bool:
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")


def table() -> str:
    """The measures of STYLE.md over src/."""
    code = functions = long = inner = catching = global_ = 0
    for path in SOURCES:
        text = path.read_text()
        code += text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, _SCOPES):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                functions += 1
                long += length if length > 100 else 0
                inner += sum(isinstance(child, ast.Import | ast.ImportFrom) for child in ast.walk(node))
            catching += isinstance(node, ast.ExceptHandler) and _catches_all(node)
            global_ += isinstance(node, ast.Global)
    tests = sum(path.read_text().count("\n") for path in (ROOT / "tests").rglob("*.py"))
    return (
        f"{code:,} lines in {len(SOURCES)} files, {functions} functions; in functions over 100 lines {long / code:.0%}; imports inside functions per 1,000 lines "
        f"{inner / code * 1000:.1f}; catch-all except per 1,000 {catching / code * 1000:.1f}; global {global_}; tests : code {tests / code:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
