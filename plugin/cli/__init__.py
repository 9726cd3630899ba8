"""The `stpn` command; one file a subcommand."""


def main() -> int:
    raise NotImplementedError
