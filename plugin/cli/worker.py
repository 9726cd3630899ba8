"""`stpn worker`: the process that renders frames for hosts such as Nuke."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stpn.plugin.request import DEVICES

HELP = "the process that renders frames for hosts (they start it themselves)"

DESCRIPTION = """\
Renders single frames for the node STPN Propagate in hosts that must not load Python. The node starts it when it is
needed, it serves all nodes of a user, and it ends when nobody has used it for a while. Nobody needs to run this by
hand.

Its socket, lock and log lie in $STPN_RUNTIME_DIR, else $XDG_RUNTIME_DIR/stpn, else /tmp/stpn-UID. Environment:
STPN_WORKER_MEMORY (bytes that pictures may take), STPN_WORKER_IDLE (seconds it stays without clients, 10),
STPN_WORKER_IDLE_JOBS (seconds it stays without work, 600)."""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--socket", required=True, metavar="PATH", help="where to listen; lock and log lie beside it")
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="named for people; every job says its own (default: auto)",
    )


def run(args: argparse.Namespace) -> int:
    """Serves until nobody needs it."""
    from stpn.plugin.worker import WorkerFault, serve

    try:
        return serve(Path(args.socket))
    except WorkerFault as error:
        print(f"stpn worker: {error}", file=sys.stderr)
        return 1
