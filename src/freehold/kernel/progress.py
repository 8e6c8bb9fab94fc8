"""How far something is that was handed in elsewhere."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """How far a parcel is. is_done: every line of it was tried, so that there are answers; failure: the provider's word for why all of it came to
    nothing; files: where its answers are; mine: the files that were handed in.
    """

    is_ended: bool
    failure: str = ""
    files: tuple[str, ...] = ()
    mine: tuple[str, ...] = ()
    is_done: bool = False
