"""What a deployment sets: frozen values, from keyword arguments, an environment, `.env` files or a TOML file.

given           texts and the places where they were written
names           the names of all settings
keys            `Settings`: what builds an `APIKeys`
service         `ServiceSettings`: what `asgi-apikey serve` needs beside it
client          `ClientSettings`: what commands need that work through a server
aliases         variables of earlier systems
configuration   all of it together
"""

from asgi_apikey.settings.client import ClientSettings
from asgi_apikey.settings.configuration import (
    Configuration,
    Sources,
    configuration,
    read_client,
    read_configuration,
    read_settings,
)
from asgi_apikey.settings.given import PREFIX, Given
from asgi_apikey.settings.keys import Consistency, Settings
from asgi_apikey.settings.service import ServiceSettings

__all__ = [
    "PREFIX",
    "ClientSettings",
    "Configuration",
    "Consistency",
    "Given",
    "ServiceSettings",
    "Settings",
    "Sources",
    "configuration",
    "read_client",
    "read_configuration",
    "read_settings",
]
