"""What people look at: the only room that draws.

What it is: figures as bars, tables, plots and pages. Pure.
What it knows: widths, labels, values.
What it does not know: where values come from and what they mean.
May import: kernel. Its verb: to draw.
"""
