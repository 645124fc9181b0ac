"""The ASGI floor: the only one that knows HTTP."""
