"""`stpn compare`."""
HELP = "what is installed, what would be used"
DESCRIPTION = HELP


def setup(parser): pass


def run(args): return 0
