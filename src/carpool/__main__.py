"""``python -m carpool``, for where no ``carpool`` is on the path."""

import sys

from .cli import main

sys.exit(main())
