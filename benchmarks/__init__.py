"""Measurements. Every claim in the docs names one of these modules; each compares within one run."""
