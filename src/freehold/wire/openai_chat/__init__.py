"""The dialect openai-chat: chat completions, and beside them legacy completions, embeddings, rerank and moderations, which pass through."""

from freehold.wire.dialect import Dialect, Spoken
from freehold.wire.openai_chat import answers, streams
from freehold.wire.openai_chat.calls import TYPES, pass_on, read_call
from freehold.wire.openai_chat.known import knows
from freehold.wire.openai_chat.requests import NAME, read_request
from freehold.wire.openai_chat.writing import write_request

DIALECT = Dialect(
    name=NAME,
    write_request=write_request,
    read_answer=answers.read_answer,
    stream_reader=streams.StreamReader,
    used_of=answers.used_of,
    spoken=Spoken(
        read_call=read_call,
        read_request=read_request,
        write_answer=answers.write_answer,
        stream_writer=streams.StreamWriter,
        write_error=answers.write_error,
        write_models=answers.write_models,
        write_model=answers.write_model,
        fields=TYPES,
        knows=knows,
        pass_on=pass_on,
        usage_is_optional=True,
        done=b"data: [DONE]\n\n",
    ),
)
