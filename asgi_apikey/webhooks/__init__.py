"""Events sent to other programs over HTTPS, signed as Standard Webhooks (https://www.standardwebhooks.com) says.

endpoints   `Webhook`: where to, under which secret, about what
signing     the headers by which a receiver knows that it was us
messages    an event as JSON
addresses   where nothing is ever sent
delivery    `Webhooks`: attempts, waits between them, and what becomes of messages that nobody takes
httpx       sends over the network; needs the extra `webhooks`
"""

from asgi_apikey.webhooks.delivery import Webhooks
from asgi_apikey.webhooks.endpoints import Answer, Sender, Unsent, Webhook

__all__ = ["Answer", "Sender", "Unsent", "Webhook", "Webhooks"]
