"""How much a key is used: hours as bars."""

from __future__ import annotations

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli import values
from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.options import served_options, shared_options
from asgi_apikey.cli.output import described, rfc3339, write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.models import DAY, HOUR, HourlyUsage, Instant, KeyRecord, Seconds

_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BARS = 24


@click.command()
@served_options
@click.argument("key_id", type=values.key_id)
@click.option("--since", type=values.instant, help="From this hour on: 2027-01-31T00:00:00Z. Default: 24 hours ago.")
@click.option("--until", type=values.instant, help="Only hours that begin before. Default: now.")
@click.pass_obj
def usage(session: Session, key_id: str, since: Instant | None, until: Instant | None) -> None:
    """Show how often a key was presented, hour by hour: accepted and refused. Servers write it every few seconds."""
    until = session.clock.wall() if until is None else until
    since = (until // HOUR) * HOUR - (_BARS - 1) * HOUR if since is None else since
    if since >= until:
        raise click.UsageError("--since must lie before --until")

    async def work(desk: Desk) -> tuple[KeyRecord, tuple[HourlyUsage, ...]]:
        record = await desk.keys.get(key_id)
        return record, tuple(await desk.keys.usage(key_id, since=since, until=until))

    record, hours = session.run(work)
    if session.as_json:
        write_json(
            {
                "key_id": record.key_id,
                "uses": record.uses,
                "last_used_at": rfc3339(record.last_used_at),
                "hours": [
                    {"hour": rfc3339(each.hour), "accepted": each.accepted, "refused": dict(each.refused)}
                    for each in hours
                ],
            }
        )
        return
    click.echo(described(record))
    for line in bars(hours, since=since, until=until):
        click.echo(line)
    accepted, refused = sum(each.accepted for each in hours), sum(sum(each.refused.values()) for each in hours)
    click.echo(f"accepted {accepted:,}, refused {refused:,}; since it was issued, accepted {record.uses:,}")


@click.command("prune-usage")
@shared_options
@click.option("--keep", type=values.duration, default="90d", show_default=True, help="Younger hours stay.")
@click.pass_obj
def prune_usage(session: Session, keep: Seconds) -> None:
    """Remove old hourly counts of all keys. Servers do so by themselves, about once an hour."""

    async def work(keys: APIKeys) -> None:
        await keys.prune_usage(keep)

    session.run_here(work)
    if session.as_json:
        write_json({"kept_seconds": keep})
    else:
        click.echo(f"hourly counts are kept for {keep / DAY:g} days")


def bars(hours: tuple[HourlyUsage, ...], *, since: Instant, until: Instant) -> list[str]:
    """Return one line for each hour of the span; of more than 24, the newest 24 that were not idle."""
    first = since // HOUR * HOUR
    number = int(-(-(until - first) // HOUR))
    by_hour = {each.hour: each for each in hours}
    every = [first + index * HOUR for index in range(number)] if number <= _BARS else sorted(by_hour)[-_BARS:]
    shown = [by_hour.get(hour, HourlyUsage(hour, 0, {})) for hour in every]
    most = max((_all(each) for each in shown), default=0)
    return [_line(each, most) for each in shown]


def _line(hour: HourlyUsage, most: int) -> str:
    at = (rfc3339(hour.hour) or "")[:16].replace("T", " ")
    refused = ", ".join(f"{reason} {number:,}" for reason, number in sorted(hour.refused.items()))
    more = f"  refused: {refused}" if refused else ""
    return f"{at}  {_bar(_all(hour), most):{_WIDTH}}  {hour.accepted:,}{more}"


def _bar(number: int, most: int) -> str:
    eighths = 0 if most == 0 else -(-number * _WIDTH * 8 // most)  # rounded up: one request is seen
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _all(hour: HourlyUsage) -> int:
    return hour.accepted + sum(hour.refused.values())
