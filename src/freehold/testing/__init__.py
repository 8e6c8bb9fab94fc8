"""Doubles that are real citizens: a stand-in provider that speaks HTTP, and a fake transport. Shipped for tests, docs and users.

What it knows: the wire, as a provider would write it.
What it does not know: Freehold's gateway. Nothing in Freehold imports it.
"""
