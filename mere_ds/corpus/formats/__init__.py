"""Corpora of other tools, one module for each format; `registry` lists them, `sentences` is what the rest calls."""
