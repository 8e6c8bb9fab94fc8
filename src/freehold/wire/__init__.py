"""Wire formats, to and from one canonical form.

What it is: strict decoding, SSE framing, and one file per dialect. Pure: bytes in, values out.
What it knows: how calls and answers are written, and what usage they report.
What it does not know: sockets, time, rulings, prices.
May import: kernel. Its verb: `read`.
"""
