"""The application of `everywhere`, made at import: servers are told where it is by name."""

from tests.integration.everywhere import create

app = create()
