"""The dialect openai-responses."""

from freehold.wire.dialect import Dialect, Spoken
from freehold.wire.openai_chat.answers import write_error, write_model, write_models
from freehold.wire.openai_responses import answers, streams
from freehold.wire.openai_responses.known import knows
from freehold.wire.openai_responses.requests import NAME, TYPES, read_call, read_request, write_request

DIALECT = Dialect(
    name=NAME,
    write_request=write_request,
    read_answer=answers.read_answer,
    stream_reader=streams.StreamReader,
    used_of=answers.used_of,
    stored_of=answers.stored_of,
    needs_done=True,
    spoken=Spoken(
        read_call=read_call,
        read_request=read_request,
        write_answer=answers.write_answer,
        stream_writer=streams.StreamWriter,
        write_error=write_error,
        write_models=write_models,
        write_model=write_model,
        fields=TYPES,
        knows=knows,
    ),
)
