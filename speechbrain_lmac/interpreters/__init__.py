"""What explains: masks, decoders, L2I, and loading them."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "class_decoder": ["ClassDecoder", "build_class_decoder"],
        "decoders": ["MaskDecoder", "ReferenceDecoder", "build_decoder"],
        "l2i": ["L2IDecoder", "build_l2i"],
        "loading": ["Interpreter", "load_decoder", "load_others", "write_info"],
        "models": ["load_model"],
        "masking": ["Explanation", "depends_on_class", "explain"],
        "methods": ["ClipMethod"],
        "time_decoder": ["TimeDecoder", "build_time_decoder"],
        "text_decoder": [
            "PromptedDecoder",
            "TextMaskDecoder",
            "build_text_decoder",
        ],
    },
)
