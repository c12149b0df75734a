"""Benchmarks that print Markdown tables: run them from the root, `python -m benchmarks.NAME`."""
