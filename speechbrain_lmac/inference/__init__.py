"""Explain any sound with a trained interpreter, and share interpreters."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "interpreter": ["AudioInterpreter"],
        "explanation": ["Explanation"],
        "once": ["explain"],
        "package.loading": ["load_package"],
        "package.writing": ["write_package"],
    },
)
