"""``backupsvc serve``: the scheduled service on one machine, and the question whether it does its work."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def serve(
    listen: Annotated[
        str | None, typer.Option("--listen", help="Where /healthz answers: host:port or a unix socket's path (BACKUPSVC_LISTEN).")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="How many tasks each of the two workers runs.")] = 2,
    grace: Annotated[float, typer.Option("--grace", min=0, help="Seconds that running tasks get when it is stopped.")] = 60,
    log_level: Annotated[
        str, typer.Option("--log-level", help="What beat and the workers say: error, warning, info.")
    ] = "warning",
    check: Annotated[
        bool, typer.Option("--check", help="Ask the one that runs. Exit 3 if it does not consume its work.")
    ] = False,
    queue: Annotated[
        str | None, typer.Option("--queue", help="With --check: judge this queue by the catalog, wherever its workers run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print one JSON object.")] = False,
) -> None:
    """Run beat, the workers and a private Redis until stopped; what dies is restarted. Settings come from the environment."""
    if check or queue:
        _check(listen, queue, as_json)
        return
    import time

    from backupsvc.cli.output import tell
    from backupsvc.cli.session import open_service
    from backupsvc.clock import iso
    from backupsvc.serve import run

    with open_service() as service:
        plan = run.plan_for(service.settings, concurrency=concurrency, log_level=log_level, grace=grace)
        run.serve(service, plan, listen or service.settings.listen, lambda text: tell(f"{iso(time.time())} serve: {text}"))


def _check(listen: str | None, queue: str | None, as_json: bool) -> None:
    from backupsvc.cli.output import emit_json
    from backupsvc.serve import run

    good, state = run.check_queue(queue) if queue else run.check(listen)
    if as_json:
        emit_json(state)
    else:
        _show(state)
    if not good:
        raise typer.Exit(3)


def _show(state: dict[str, Any]) -> None:
    from backupsvc.cli.output import say

    say(f"{state['status']}: {state['operations']['open']} operations are open")
    for name, queue in state["queues"].items():
        say(f"queue {name}: consumed {queue['seconds_since_consumed']:.0f} s ago (limit {queue['limit']:.0f} s)")
    for reason in state["reasons"]:
        say(reason)
