"""Run weights.

What it is: the embedded engine, llama.cpp's server (through `xllamacpp`) in a supervised child process.
What it knows: model files, child processes, loopback ports.
What it does not know: calls, classes, prices.
May import: kernel. Its verb: `start`.
"""
