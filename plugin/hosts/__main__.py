"""`python -m stpn.plugin.hosts`: puts the node into hosts; `install.py ofx`, `nuke`, `blender`, `comfyui` call it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from stpn.plugin.hosts.places import HOSTS, PlaceError, places
from stpn.plugin.hosts.placing import noted, place, take_out


def main() -> int:
    """Returns the exit code: 0 done, 1 it did not work, 2 wrong request."""
    parser = argparse.ArgumentParser(prog="python -m stpn.plugin.hosts", description=__doc__)
    parser.add_argument("what", choices=(*HOSTS, "uninstall"))
    parser.add_argument("hosts", nargs="*", help="of uninstall: which (default: all)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="the folder to put it into, or to take it from")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    args = parser.parse_args()
    wrong = [name for name in args.hosts if name not in HOSTS or args.what != "uninstall"]
    if wrong:
        print(f"install.py: error: expected hosts {', '.join(HOSTS)}, got {', '.join(wrong)}", file=sys.stderr)
        return 2
    try:
        if args.what == "uninstall":
            return _uninstall(args.hosts or list(HOSTS), args.to, dry=args.dry_run)
        host = HOSTS[args.what]
        for folder in [args.to.absolute()] if args.to else places(host, Path.home(), os.environ):
            if args.dry_run:
                print(f"would put {host.folder} into {folder}")
            else:
                print(f"{host.title}: {place(host, folder).folder}")
    except PlaceError as error:
        print(f"install.py: error: {error}", file=sys.stderr)
        return 1
    return 0


def _uninstall(hosts: list[str], from_: Path | None, *, dry: bool) -> int:
    for placed in noted():
        if placed.host not in hosts or (from_ is not None and placed.folder.parent != from_.absolute()):
            continue
        if dry:
            print(f"would take away {placed.folder}")
        else:
            print(f"{placed.folder}: {'taken away' if take_out(placed) else 'was gone already, or is not ours'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
