"""Nuke runs this when it opens its window: puts STPN Propagate into the menu of nodes."""

from __future__ import annotations

import stpn_propagate

stpn_propagate.add_to_menu()
