"""Nuke runs this when it starts, with a window or without: lets it find the icons of STPN Propagate."""

from __future__ import annotations

import os

import nuke

nuke.pluginAddPath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "icons"))
