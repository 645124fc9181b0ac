"""Metrics: they pull what the parts count anyway, so nothing of them is on the way of a request."""
