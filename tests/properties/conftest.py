"""How many examples hypothesis tries: few, or many with LMAC_SOAK=1."""

import os

from hypothesis import HealthCheck, settings

SHARED = {
    "deadline": None,  # the first call of a function builds its tables
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
settings.register_profile("short", max_examples=25, derandomize=True, **SHARED)
settings.register_profile("soak", max_examples=300, **SHARED)
settings.load_profile("soak" if os.environ.get("LMAC_SOAK") else "short")
