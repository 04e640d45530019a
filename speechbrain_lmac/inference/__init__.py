"""Explain any sound with a trained interpreter, as SpeechBrain users expect.

Authors
 * The speechbrain_lmac authors 2026
"""

from speechbrain_lmac.inference.explanation import Explanation
from speechbrain_lmac.inference.interpreter import AudioInterpreter

__all__ = ["AudioInterpreter", "Explanation"]
