"""Freehold: one endpoint in front of open and closed language models that rules on, routes, prices and records every call."""

__version__ = "0.1.0"
