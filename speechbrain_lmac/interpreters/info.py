"""What the folder of a trained interpreter says of itself.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
from pathlib import Path

from speechbrain_lmac.utils.checks import UserError

INFO_FILE = "interpreter.json"
#: Says that a folder is a package of a trained interpreter.
PACKAGE_MARK = "speechbrain_interface"
#: Which folder is expected, for errors; the second for zero-shot recipes.
ADVICE = "the output folder of train_lmac.py, such as results/lmac_small/1234"
ZS_ADVICE = (
    "the output folder of train_lmac_zs.py, such as results/lmac_zs_small/1234"
)


def read_info(folder, key, advice=ADVICE):
    """What the training noted; an error that teaches if it did not.

    Arguments
    ---------
    folder : str or pathlib.Path
        An interpreter's folder.
    key : str
        Hyperparameter that named the folder.
    advice : str
        Which folder is expected, for errors.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        If the folder is no interpreter's.
    """
    path = Path(folder) / INFO_FILE
    if not path.exists() and _is_package(folder):
        raise UserError(
            f"`{key}`: {folder} is the package of a trained interpreter, which "
            "AudioInterpreter and the command lmac read. A recipe needs the "
            f"folder of the training itself: expected {advice}."
        )
    try:
        with open(path, encoding="utf-8") as file:
            info = json.load(file)
        texts = (info["mask_domain"], info["ckpt_metric"], info["ckpt_mode"])
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"expected texts, found {texts}")
        dict(info["classifier"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        reason = err.strerror if isinstance(err, OSError) else repr(err)
        raise UserError(
            f"`{key}`: {folder} is no folder of a trained interpreter, or it "
            f"is damaged (expected a readable {INFO_FILE} in it; {reason}). "
            f"Give {advice}."
        ) from err
    return info


def _is_package(folder):
    """Whether a folder's config.json is that of a package."""
    try:
        text = (Path(folder) / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return f'"{PACKAGE_MARK}"' in text
