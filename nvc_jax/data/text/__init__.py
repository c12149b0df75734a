"""Readers and generators of parallel text, vocabularies and buckets."""
