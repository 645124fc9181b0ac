"""Where limits are counted, if not in the store: `redis`, shared and fast, and `rates`, whatever `limits` speaks to.

Importing this package imports no third-party library.
"""

from asgi_apikey.limiters.urls import open_meters

__all__ = ["open_meters"]
