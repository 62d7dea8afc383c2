"""`python -m surm_lite`: the command line."""

import sys

from surm_lite.commands.main import main

sys.exit(main())
