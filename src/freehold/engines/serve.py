"""The child process of the embedded engine: `python -m freehold.engines.serve`, settings as JSON on standard input.

Rules: it dies with its parent (the kernel's parent-death signal, and end-of-file on standard input where there is none); it listens on
loopback only; it writes one line, `ready PORT`, to standard output, and never a prompt.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = json.loads(sys.stdin.readline())
    if os.getppid() != settings["parent"]:
        return  # the parent died before the signal was set
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group, they are for the parent, which drains first
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the engine prints goes to standard error
    server = _serve(settings)
    channel.write(f"ready {server.listening_address}\n")
    channel.flush()
    _until_orphaned()


def _serve(settings: dict[str, Any]) -> Any:
    import xllamacpp  # the engine is 100 MB of native code: only this child loads it

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.api_keys = [settings["key"]]
    params.n_ctx = settings["context"] * settings["parallel"]
    params.n_parallel = settings["parallel"]
    params.cache_ram_mib = 0  # else the engine keeps what it read, whoever's it was, up to 8 GiB of it
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.use_jinja = True
    params.warmup = False
    params.n_gpu_layers = -1
    params.verbosity = 1
    return xllamacpp.Server(params)


def _until_orphaned() -> None:
    """The parent ends this process by closing its standard input, and so does the parent's own end."""
    while sys.stdin.readline():
        pass
    os._exit(0)  # the engine has nothing to save, and its destructors may wait for a slow call


if __name__ == "__main__":
    main()
