"""`stpn doctor`: what is installed, whether it works, what would be used."""

from __future__ import annotations

import argparse

HELP = "what is installed, what would be used"

DESCRIPTION = """\
Looks at everything that stpn stands on: versions, processors and GPU, the OCIO config, weights, folders; then carries a
tiny picture to see that it works, and says which hosts have the node. Each line is marked ok, warning or error, with
what to do.

Exit code 0: `stpn propagate` works here. 1: it does not; see the lines marked error.

--json prints one object: `ok` (true or false) and `findings`, a list of objects with group, name, value, status (ok,
warning, error), advice, and details where there are any."""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--ocio", metavar="FILE", help="look at this OCIO config (default: $OCIO, else a built-in one)")
    parser.add_argument("--spaces", action="store_true", help="list the config's color spaces, displays and views only")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Examines and prints."""
    if args.spaces:
        return _spaces(args)
    from stpn.plugin.doctor import as_json, examine, works

    findings = []
    group = ""
    for finding in examine(args.ocio):
        findings.append(finding)
        if args.json:
            continue
        if finding.group != group:
            print(f"{'' if not group else chr(10)}{finding.group}")
            group = finding.group
        print(f"  {finding.status:<8} {finding.name:<32} {finding.value}", flush=True)
        for line in (*finding.lines, *([f"-> {finding.advice}"] if finding.advice else [])):
            print(f"{'':<43} {line}")
    if args.json:
        print(as_json(findings))
    else:
        print(f"\nstpn propagate {'works here' if works(findings) else 'does not work here, see the errors'}")
    return 0 if works(findings) else 1


def _spaces(args: argparse.Namespace) -> int:
    """Lists what can be named with --colorspace, --working, --display and --view."""
    import json

    from stpn.ocio.config import ColorError, load_config
    from stpn.plugin.request import RequestError

    try:
        config = load_config(args.ocio)
        spaces = config.spaces()
    except ColorError as error:
        raise RequestError(str(error)) from error
    displays = {display: list(config.native.getViews(display)) for display in config.native.getDisplays()}
    if args.json:
        listed = [{"name": s.name, "encoding": s.encoding, "roles": s.roles, "aliases": s.aliases} for s in spaces]
        print(json.dumps({"config": config.origin, "spaces": listed, "displays": displays}, indent=2))
        return 0
    print(f"{config.origin}\n\ncolor spaces (encoding; roles)")
    for space in spaces:
        more = "; ".join(part for part in (space.encoding, ", ".join(space.roles)) if part)
        print(f"  {space.name}{f'  ({more})' if more else ''}")
    print("\ndisplays and their views")
    for display, views in displays.items():
        print(f"  {display}: {', '.join(views)}")
    return 0
