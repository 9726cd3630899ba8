"""The `stpn` command; one file a subcommand, each with `setup` (its options) and `run` (what it does)."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from importlib import import_module
from importlib.metadata import version

_COMMANDS = (
    "propagate",
    "analyse",
    "farm",
    "convert",
    "keys",
    "compare",
    "doctor",
    "train",
    "bench",
    "engine",
    "worker",
)

_DESCRIPTION = """\
Carries what you painted or rendered on a few key frames to every frame between.

    stpn propagate   carry color, radiance, mattes or channels from key frames through a plate
    stpn analyse     look at a whole shot once, for chunks on a farm
    stpn farm        jobs for render farms: Open Job Description, OpenCue, Deadline 10
    stpn convert     pictures to another color space, view, compression, type, size or format
    stpn keys        which frames to paint next
    stpn compare     a contact sheet of two sequences, differences, PSNR
    stpn doctor      what is installed, what would be used
    stpn train       train a network by a recipe
    stpn bench       measure quality on clips whose truth is known
    stpn engine      TensorRT engines: build, list, clear
    stpn worker      the process that renders for hosts

stpn COMMAND --help tells everything about a command."""

_EXIT_CODES = (
    "exit codes: 0 done, 1 failed while working, 2 wrong request (nothing written), 130 cancelled, 143 by SIGTERM"
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="stpn",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stpn {version('stpn')}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        module = import_module(f"stpn.plugin.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.setup(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)

    from stpn.plugin.progress import stream_of, tell_failure
    from stpn.plugin.request import RequestError

    try:
        code: int = args.run(args)
        return code
    except RequestError as error:
        for problem in error.problems:
            print(f"stpn {args.command}: {problem}", file=sys.stderr)
        style = getattr(args, "progress", "auto")
        tell_failure("; ".join(error.problems), stream_of(style, results=getattr(args, "json", False)), style)
        _trace(args)
        return 2
    except BrokenPipeError:
        # whoever read the output has enough; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as interrupted:
        print(f"stpn {args.command}: cancelled", file=sys.stderr)
        return getattr(interrupted, "code", 130)


def _trace(args: argparse.Namespace) -> None:
    if args.debug:
        traceback.print_exc()
