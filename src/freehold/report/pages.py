"""A page that stands alone: headings, words, tables and plots in one HTML file that asks nobody for anything."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: left; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: .6rem 0; } figcaption { opacity: .75; font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid #8884; margin: .2rem 0; padding: .1rem .8rem; }
.big { font-size: 1.25rem; font-weight: 600; }
svg { max-width: 100%; height: auto; } .source { opacity: .75; font-size: .85rem; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page."""
    name, inner = html.escape(title), "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{name}</title><style>{_STYLE}</style></head>\n<body><h1>{name}</h1>\n{inner}\n</body></html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def words(text: str, *, is_source: bool = False, is_big: bool = False) -> str:
    mark = ' class="source"' if is_source else ' class="big"' if is_big else ""
    return f"<p{mark}>{html.escape(text)}</p>"


def points(texts: Iterable[str]) -> str:
    found = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul>{found}</ul>" if found else ""


def table(names: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Rows of text; right: the columns that hold numbers."""
    mark = ['class="number"' if name in right else "" for name in names]
    head = "".join(f"<th {how}>{html.escape(name)}</th>" for name, how in zip(names, mark, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {how}>{html.escape(cell)}</td>" for cell, how in zip(row, mark, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def quoted(name: str, text: str) -> str:
    """A block of somebody's words, as they stand."""
    return f"<figure><figcaption>{html.escape(name)}</figcaption><pre>{html.escape(text)}</pre></figure>"
