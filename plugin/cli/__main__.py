"""`python -m stpn.plugin.cli`: the `stpn` command, for those who know an interpreter and no path of commands."""

import sys

from stpn.plugin.cli import main

sys.exit(main())
