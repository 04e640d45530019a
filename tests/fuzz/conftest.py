"""The fuzzers import each other as their command does: by their folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
