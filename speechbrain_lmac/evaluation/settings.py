"""What is evaluated, and how: the settings of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from speechbrain_lmac.evaluation.conditions import check_conditions
from speechbrain_lmac.evaluation.methods import (
    check_methods,
    check_options,
    check_protocols,
)
from speechbrain_lmac.metrics.explanation import check_ad_variant
from speechbrain_lmac.utils.checks import UserError

#: Methods beside the trained decoder if none are named.
YARDSTICKS = ("all_ones", "random", "ideal")
#: What names rows, or is kept with them: no other value depends on it.
_OF_ROWS = (
    *("methods", "conditions", "protocols"),
    *("attribution", "dataset", "n_examples"),
)
_LEAST = {"curve_steps": 0, "n_examples": -1, "batch_size": 1, "n_mixtures": 1}


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated, and how; checked when it is made.

    Arguments
    ---------
    methods : sequence of str
        ``lmac`` (``lmac_zs`` for a zero-shot classifier), ``lmac_ft``,
        ``l2i``, attribution methods, ``all_ones``, ``random``, ``ideal``.
        None takes the evaluated interpreter's own and the last three.
    conditions : sequence of str
        Of ``clean``, ``mixtures``, ``white_noise``, ``speech``, ``wham``,
        ``pairs``, ``named``, ``placed``.
    protocols : sequence of str
        ``published``: masks as they are; ``equal_mean``: each raised to the
        power that gives it the mean of the interpreter's; ``equal_area``:
        the top half of each mask's bins, as zeros and ones; ``loudness``: the
        explanation amplified to the clip's energy.
    attribution : dict of str to dict
        Options of attribution methods, such as ``{"gradcam": {"layer": 1}}``.
    ad_variant : str
        ``definition``; ``speechbrain`` adds AD with that toolkit's two
        softmaxes.
    heard : bool
        Whether to score the resynthesised sounds, too.
    curve_steps : int
        Steps of the insertion and deletion curves; 0 leaves them out.
    dataset : str or None
        What tables call the data; None for their own name.
    n_examples : int
        Clips per condition with every method's sounds; -1 for all.
    batch_size : int
        Clips of equal length that are explained together; no score depends
        on it.
    seed : int
        Of contaminations and of methods that draw.
    n_mixtures : int
        Mixtures per clip.
    speech_folder, wham_folder : str or pathlib.Path
        Audio for the conditions of these names.

    Raises
    ------
    UserError
        If a value cannot be used; the message names it and what is known.

    Example
    -------
    >>> settings = EvaluationSettings(methods=["lmac", "random"], seed=1)
    >>> settings.methods, settings.conditions
    (('lmac', 'random'), ('clean', 'mixtures', 'white_noise'))
    """

    methods: Sequence[str] | None = None
    conditions: Sequence[str] = ("clean", "mixtures", "white_noise")
    protocols: Sequence[str] = ("published",)
    attribution: Mapping[str, dict] = field(default_factory=dict)
    ad_variant: str = "definition"
    heard: bool = True
    curve_steps: int = 0
    dataset: str | None = None
    n_examples: int = 0
    batch_size: int = 16
    seed: int = 1234
    n_mixtures: int = 2
    speech_folder: Any = None
    wham_folder: Any = None

    def __post_init__(self):
        for name in ("methods", "conditions", "protocols"):
            value = getattr(self, name)
            value = (value,) if isinstance(value, str) else value
            self._set(name, value if value is None else tuple(value))
        self._set("attribution", check_options(self.attribution))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(
                    f"`{name}`: expected a whole number from {least} up, "
                    f"found {value!r}."
                )
        check_methods(self.methods or ())
        check_protocols(self.protocols)
        check_ad_variant(self.ad_variant)
        check_conditions(self.conditions, self.speech_folder, self.wham_folder)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def methods_of(self, trained: str) -> tuple[str, ...]:
        """The methods beside an interpreter's own, of this name."""
        check_methods(self.methods or (), trained)
        return tuple(self.methods or (trained, *YARDSTICKS))

    def fingerprint(self) -> dict[str, Any]:
        """The settings that every value depends on, as JSON has them."""
        facts = {k: v for k, v in asdict(self).items() if k not in _OF_ROWS}
        for name in ("speech_folder", "wham_folder"):
            facts[name] = facts[name] and str(facts[name])
        return facts
