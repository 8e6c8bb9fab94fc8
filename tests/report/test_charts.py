"""Plots: well-formed whatever is drawn, and readable without a server."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from freehold.report import charts, pages
from freehold.report.charts import Line, Swing

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_lines_keep_in_their_frame() -> None:
    xs = [0.1, 1.0, 10.0, 100.0]
    found = parsed(charts.lines(xs, [Line("a & <b>", [1.0, 10.0, 0.0, 1e6], [(0.5, 2.0)] * 4)], title="t", labels=("x", "y")))  # fmt: skip
    (line,) = found.iter(f"{SVG}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == 3, "what is not above zero has no place"
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert "a & <b>" in "".join(found.itertext())


def test_bars_are_as_long_as_their_values() -> None:
    found = parsed(charts.stacked({"one": {"x": 30.0, "y": 70.0}, "two": {"x": 50.0}}, title="t"))
    wide = {rect.find(f"{SVG}title").text: float(rect.attrib["width"]) for rect in found.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None}  # type: ignore[union-attr]  # fmt: skip
    assert wide["x: 50"] / wide["x: 30"] == pytest.approx(5 / 3, rel=0.01)
    swing = parsed(charts.swings([Swing("s", 3.0, 1.0), Swing("t", 1.5, 2.0)], title="t", label="USD"))
    first, second = (float(rect.attrib["width"]) for rect in swing.iter(f"{SVG}rect"))
    assert first / second == pytest.approx(4.0, rel=0.01)


def test_a_map_has_a_cell_for_each() -> None:
    found = parsed(charts.cells([1.0, 10.0], [1.0, 2.0], [["a", "b"], ["a", "a"]], title="t", labels=("x", "y")))
    assert [rect.find(f"{SVG}title").text for rect in found.iter(f"{SVG}rect") if rect.attrib["width"] != "12"] == ["a (1, 1)", "b (10, 1)", "a (1, 2)", "a (10, 2)"]  # type: ignore[union-attr]  # fmt: skip


def test_nothing_is_no_error() -> None:
    for text in (
        charts.lines([], [], title="t", labels=("x", "y")),
        charts.lines([1.0, 2.0], [Line("zero", [0.0, 0.0])], title="t", labels=("x", "y")),
        charts.stacked({}, title="t"),
        charts.swings([], title="t", label="USD"),
    ):
        parsed(text)


def test_a_page_shows_text_as_text() -> None:
    page = pages.page("<b>", [pages.heading("<i>"), pages.words("a & b"), pages.points(["<x>"]), pages.table(("<c>",), [("<d>",)])])  # fmt: skip
    assert not {"<b>", "<i>", "<x>", "<c>", "<d>", "a & b"} & set(page.replace(">", "> ").split(" "))
    assert "default-src 'none'" in page
    assert "&lt;d&gt;" in page
