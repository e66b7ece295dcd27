"""``python -m stocktake`` is the same as ``stocktake``."""

import sys

from stocktake.cli import main

sys.exit(main())
