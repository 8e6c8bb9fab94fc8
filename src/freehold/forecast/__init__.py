"""What serving costs, how fast it is and where owning pays.

What it is: pure maths over facts, prices and measured constants, each with its source and date.
What it knows: GPUs, models, engines, queues and money. It gives intervals, and says when it cannot tell.
What it does not know: where traffic comes from, files, clocks: it is handed plain values.
May import: kernel, pricing, report. Its verb: `look`.
"""
