"""A process that issues, rotates and revokes keys until it is killed, and says of each change that it was acknowledged.

python -m tests.faults.victim URL RUN
"""

from __future__ import annotations

import asyncio
import sys

from asgi_apikey import APIKeys
from asgi_apikey.models import Actor

AUDIT_KEY = "u9Rk3Vw0-Zs6Lp1Xc8Mb4Yh7Jd2Tg5Nf"


async def main(url: str, run: str) -> None:
    """Never return."""
    keys = APIKeys(url, pepper=None, audit_key=AUDIT_KEY, single_process=True)
    actor = Actor("victim", run)
    await keys.open()
    while True:
        issued = await keys.issue(owner=run, actor=actor)
        print("issued", issued.record.key_id, flush=True)
        rotated = await keys.rotate(issued.record.key_id, actor=actor)
        print("rotated", issued.record.key_id, rotated.record.key_id, flush=True)
        await keys.revoke(rotated.record.key_id, only=True, actor=actor)
        print("revoked", rotated.record.key_id, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
