"""``python -m carpool.cli``, for where no ``carpool`` is on the path."""

import sys

from . import main

sys.exit(main())
