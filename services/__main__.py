"""``python -m modelfleet_services`` is the command ``modelfleet``."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
