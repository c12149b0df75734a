"""Readers and generators of images of planes."""
