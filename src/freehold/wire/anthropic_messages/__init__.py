"""The dialect anthropic-messages."""

from freehold.wire.anthropic_messages import answers
from freehold.wire.anthropic_messages.known import knows
from freehold.wire.anthropic_messages.requests import NAME, TYPES, read_call, read_request, write_request
from freehold.wire.dialect import Dialect, Spoken

DIALECT = Dialect(
    name=NAME,
    write_request=write_request,
    read_answer=answers.read_answer,
    stream_reader=answers.StreamReader,
    used_of=answers.used_of,
    needs_done=True,
    needs_limit=True,
    spoken=Spoken(
        read_call=read_call,
        read_request=read_request,
        write_answer=answers.write_answer,
        stream_writer=answers.StreamWriter,
        write_error=answers.write_error,
        write_models=answers.write_models,
        write_model=answers.write_model,
        fields=TYPES,
        knows=knows,
    ),
)
