"""The command ``lmac`` where it is not installed: python -m speechbrain_lmac.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

from speechbrain_lmac.cli import main

if __name__ == "__main__":
    sys.exit(main())
