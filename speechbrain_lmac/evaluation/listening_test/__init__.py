"""The listening test of the papers: explanations rated by ear.

Listeners hear the input and each method's explanation, unnamed and in random
order, and rate from 1 to 100 how well it corresponds to the part of the input
that belongs to the class, and how good it sounds (the user study of L-MAC,
Paissan et al., ICML 2024, arXiv 2403.13086). Two hidden anchors, a random mask
below and the ideal one above, tell who listened (ITU-R BS.1534-3, "MUSHRA").

 * :func:`build` makes a static page from the sounds of an evaluation;
 * :func:`analyse` turns the files that listeners send back into tables;
 * :func:`export_webmushra` writes the same test for webMUSHRA.
"""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "analysis": ["analyse"],
        "page": ["build", "export_webmushra"],
    },
)
