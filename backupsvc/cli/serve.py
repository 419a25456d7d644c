"""``backupsvc serve``: the scheduled service on one machine, and the question whether it does its
work.
"""

from __future__ import annotations

from typing import Annotated

import typer

Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        help="Where /healthz answers: host:port or a unix socket's path (BACKUPSVC_LISTEN).",
    ),
]
Concurrency = Annotated[
    int,
    typer.Option("--concurrency", min=1, help="How many tasks each of the two workers runs."),
]
Grace = Annotated[
    float,
    typer.Option("--grace", min=0, help="Seconds that running tasks get when it is stopped."),
]
LogLevel = Annotated[
    str | None,
    typer.Option("--log-level", help="debug, info, warning or error (BACKUPSVC_LOG__LEVEL; info)."),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Ask the one that runs. Exit 3 if it does not consume its work, 1 if a job's "
        "last night was not good.",
    ),
]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue",
        help="With --check: judge this queue by the catalog, wherever its workers run.",
    ),
]
IgnoreNights = Annotated[
    bool,
    typer.Option(
        "--ignore-nights",
        help="With --check: only whether work is consumed, for what restarts the unhealthy.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="With --check: print one JSON object.")]


def serve(
    listen: Listen = None,
    concurrency: Concurrency = 2,
    grace: Grace = 60,
    log_level: LogLevel = None,
    check: Check = False,
    queue: Queue = None,
    ignore_nights: IgnoreNights = False,
    as_json: AsJson = False,
) -> None:
    """Run beat, the workers and a private Redis until stopped; what dies is restarted. Settings
    come from the environment.
    """
    if check or queue:
        # a bad night must not make whatever restarts the unhealthy restart a service that works
        _check(listen, queue, {"failing": 3} | ({} if ignore_nights else {"degraded": 1}), as_json)
        return
    import logging

    from backupsvc import logs
    from backupsvc.bootstrap import open_service
    from backupsvc.cli.session import SIMULATED
    from backupsvc.errors import UsageError
    from backupsvc.serve import run

    with open_service() as service:
        settings = service.settings
        level = log_level or settings.log.level
        if level not in logs.LEVELS:
            raise UsageError(
                f"--log-level {level} is none", f"the levels are {', '.join(logs.LEVELS)}"
            )
        # before anything is logged: it strikes out the secrets (law 7)
        logs.configure(
            process="serve", level=level, form=settings.log.format, secrets=settings.secrets
        )
        log = logging.getLogger("backupsvc.serve")
        if settings.simulated:
            log.warning(SIMULATED)
        plan = run.plan_for(settings, concurrency=concurrency, log_level=level, grace=grace)
        run.serve(service, plan, listen or settings.listen, log.info, log.warning)


def _check(listen: str | None, queue: str | None, codes: dict[str, int], as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, say
    from backupsvc.serve import run

    state = run.check_queue(queue) if queue else run.check(listen)
    if as_json:
        emit_json(state)
    else:
        say(f"{state['status']}: {state['operations']['open']} operations are open")
        for name, its in state["queues"].items():
            consumed, limit = its["seconds_since_consumed"], its["limit"]
            say(f"queue {name}: consumed {consumed:.0f} s ago (limit {limit:.0f} s)")
        for reason in state["reasons"]:
            say(reason)
    if code := codes.get(state["status"], 0):
        raise typer.Exit(code)
