"""Results for people: tables, figures, and one page to listen to.

The modules of this room read statistics, arrays and files; they run no model.
"""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "columns": ["METHODS", "condition_label", "in_order", "method_label"],
        "descriptors": ["write_descriptors"],
        "figures.bars": ["build_bars_figure"],
        "figures.explanation": [
            "build_explanation_figure",
            "build_prompt_figure",
        ],
        "figures.pictures": [
            "mask_picture",
            "spectrogram_picture",
            "write_picture",
        ],
        "figures.plots": [
            "build_curves_figure",
            "build_randomization_figure",
            "build_roar_figure",
            "build_scatter_figure",
        ],
        "figures.style": ["save_figure"],
        "page.page": ["build_report"],
        "results": ["row_of", "write_results"],
        "tables": [
            "format_screen",
            "row_from_summaries",
            "write_csv",
            "write_latex",
            "write_markdown",
        ],
    },
)
