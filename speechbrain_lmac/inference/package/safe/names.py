"""The names that a package's YAML may call: an allow-list, and its gate.

A name is judged before anything is imported for it, and once more by what it
leads to: modules hold what they import, so that ``some.module.os.system``
lies under any prefix that ``some.module`` lies under.

Authors
 * The speechbrain_lmac authors 2026
"""

import importlib
import inspect
import re
from types import ModuleType

from torch import nn

#: Where classes may be defined.
PREFIXES = (
    "speechbrain_lmac",
    "speechbrain.lobes",
    "speechbrain.nnet",
    "speechbrain.processing",
    "speechbrain.dataio.encoder",
    "torch.nn",
)
#: Below them: what loads pickles, downloads, or reaches other processes.
LOADERS = (
    "speechbrain_lmac.classifiers.zero_shot.hf",
    "speechbrain_lmac.classifiers.zero_shot.laion",
    "speechbrain_lmac.cli",
    "speechbrain_lmac.inference",
    "speechbrain.lobes.models.beats",
    "speechbrain.lobes.models.discrete",
    "speechbrain.lobes.models.fairseq_wav2vec",
    "speechbrain.lobes.models.flair",
    "speechbrain.lobes.models.g2p",
    "speechbrain.lobes.models.huggingface_transformers",
    "speechbrain.lobes.models.huggingface_wav2vec",
    "speechbrain.lobes.models.huggingface_whisper",
    "speechbrain.lobes.models.kmeans",
    "speechbrain.lobes.models.MSTacotron2",
    "speechbrain.lobes.models.spacy",
    "speechbrain.nnet.adapters",
    "torch.nn.parallel",
)
#: The classes besides modules.
LABEL_ENCODERS = tuple(
    f"speechbrain.dataio.encoder.{name}"
    for name in ("CategoricalEncoder", "TextEncoder", "CTCTextEncoder")
)
_CLAP = "speechbrain_lmac.classifiers.zero_shot"
#: The functions: each builds a module from modules and plain values.
FUNCTIONS = (
    "speechbrain_lmac.features.build_frontend",
    "speechbrain_lmac.interpreters.decoders.build_decoder",
    "speechbrain_lmac.interpreters.l2i.build_l2i",
    "speechbrain_lmac.interpreters.text_decoder.build_text_decoder",
    f"{_CLAP}.small.SmallClap.build_frontend",
    f"{_CLAP}.base.ClapEncoder.build_frontend",
)
# No part begins with an underscore: neither __main__ nor __globals__.
NO_CLASS = "it is no class of a module under an allowed prefix"
NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)


class ForbiddenName(Exception):
    """A name that is not allowed; the message says why."""


def lies_under(name, prefixes):
    """Whether a dotted name is one of some prefixes or lies below one.

    Example
    -------
    >>> lies_under("torch.nn.Linear", PREFIXES)
    True
    >>> lies_under("torch.nnx.Linear", PREFIXES)
    False
    """
    return any(name == p or name.startswith(f"{p}.") for p in prefixes)


def resolve_class(name):
    """The class of an allowed name.

    Arguments
    ---------
    name : str
        Dotted name of a module's class.

    Returns
    -------
    type
        A subclass of ``torch.nn.Module``, or a label encoder, defined under
        one of ``PREFIXES``.

    Raises
    ------
    ForbiddenName
        If the name, or what it leads to, is not allowed.

    Example
    -------
    >>> resolve_class("torch.nn.Linear").__name__
    'Linear'
    >>> resolve_class("torch.nn.modules.module.torch.load")
    Traceback (most recent call last):
    ...
    speechbrain_lmac.inference.package.safe.names.ForbiddenName: \
it is no class of a \
module under an allowed prefix
    """
    _check_name(name)
    module, _, last = name.rpartition(".")
    found = vars(_import(module)).get(last)
    if not inspect.isclass(found):
        raise ForbiddenName(
            "it is no class of a module under an allowed prefix"
        )
    home = f"{found.__module__}.{found.__qualname__}"
    if not lies_under(home, PREFIXES):
        raise ForbiddenName(f"it leads to {home}, which is defined elsewhere")
    if lies_under(home, LOADERS):
        raise ForbiddenName(f"{home} loads files or downloads")
    if not issubclass(found, nn.Module) and home not in LABEL_ENCODERS:
        raise ForbiddenName(f"{home} is neither a module nor a label encoder")
    return found


def resolve_function(name):
    """The function of an allowed name: one of ``FUNCTIONS``.

    Arguments
    ---------
    name : str
        Dotted name of a function, or of a method of a class.

    Returns
    -------
    callable

    Raises
    ------
    ForbiddenName
        If it is another one.

    Example
    -------
    >>> resolve_function("speechbrain_lmac.features.FrontEnd").__name__
    'FrontEnd'
    """
    if name not in FUNCTIONS:
        raise ForbiddenName("it is none of the functions of the allow-list")
    module, _, last = name.rpartition(".")
    owner, _, method_of = module.rpartition(".")
    if method_of[0].isupper():
        return vars(vars(_import(owner))[method_of])[last]
    return vars(_import(module))[last]


def _check_name(name):
    """Judge a name by itself, before any import."""
    if not NAME.fullmatch(name):
        raise ForbiddenName("it is no dotted name of public parts")
    if not lies_under(name, PREFIXES):
        raise ForbiddenName(f"it lies under none of {', '.join(PREFIXES)}")
    if lies_under(name, LOADERS):
        raise ForbiddenName("it loads files or downloads")


def _import(name):
    """Import a module under an allowed prefix; nothing else can come of it.

    Parents are looked at first: the import system, too, walks through
    whatever a module holds if that looks like a package.
    """
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        try:
            module = importlib.import_module(path)
        except Exception as err:  # a module may fail to import in any way
            raise ForbiddenName(
                NO_CLASS
                if isinstance(err, ModuleNotFoundError)
                else f"importing {path} failed ({type(err).__name__}: {err})"
            ) from err
        if not isinstance(module, ModuleType) or module.__name__ != path:
            raise ForbiddenName(f"{path} is another module under a false name")
    return module
