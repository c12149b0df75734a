"""Readers and generators of hands and their joints."""
