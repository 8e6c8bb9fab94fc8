"""The dialect gemini."""

from freehold.wire.dialect import Dialect, Spoken
from freehold.wire.gemini import answers
from freehold.wire.gemini.known import knows
from freehold.wire.gemini.requests import NAME, TYPES, pass_on, read_call, read_request, write_request

DIALECT = Dialect(
    name=NAME,
    write_request=write_request,
    read_answer=answers.read_answer,
    stream_reader=answers.StreamReader,
    used_of=answers.used_of,
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
        pass_on=pass_on,
    ),
)
