"""Spellings of credentials and paths, with what must become of each."""
