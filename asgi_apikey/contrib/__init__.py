"""Bridges to frameworks: they read what the middleware has found, and declare it in each framework's own words."""
