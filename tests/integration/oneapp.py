"""The Starlette application, made at import: some servers take nothing else."""

from tests.integration.apps.starlette_app import create

app = create()
