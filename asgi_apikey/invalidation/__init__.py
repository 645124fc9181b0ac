"""How workers agree that a cached verdict is still the truth."""
