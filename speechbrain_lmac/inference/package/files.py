"""The files of a package: listed with their checksums, and checked.

``config.json`` names the interface and the version, and lists every other
file with its size and SHA-256. The checksums tell whether a package is whole
and unchanged since it was written; who wrote it they do not tell.

Authors
 * The speechbrain_lmac authors 2026
"""

import hashlib
import json
import re
from pathlib import Path

from speechbrain_lmac import __version__
from speechbrain_lmac.inference.package.safe.yaml_text import UnsafePackageError
from speechbrain_lmac.utils.checks import UserError

CONFIG_FILE = "config.json"
HPARAMS_FILE = "hyperparams.yaml"
LABELS_FILE = "label_encoder.txt"
CARD_FILE = "README.md"
CLAP_INFO_FILE = "clap.json"
CLAP_FOLDER = "clap"
INTERFACE = "AudioInterpreter"
#: Raise it when an older version could not read what is written.
FORMAT = 1
MASK_DOMAINS = ("stft", "mel")
KINDS = ("closed-set", "zero-shot")

MAX_CONFIG_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 24  # of any file but weights
#: The files that may be part of a package; others are never read.
KNOWN_NAMES = re.compile(
    rf"{re.escape(HPARAMS_FILE)}|{re.escape(LABELS_FILE)}"
    rf"|{re.escape(CARD_FILE)}|{re.escape(CLAP_INFO_FILE)}"
    r"|(classifier|encoder|decoder)\.safetensors"
    rf"|{CLAP_FOLDER}/((config|preprocessor_config|tokenizer"
    r"|tokenizer_config|special_tokens_map|vocab)\.json"
    r"|merges\.txt|model\.safetensors)"
)
#: Files that run code when they are loaded.
PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_FACTS = {
    "kind": str,
    "mask_domain": str,
    "sample_rate": int,
    "files": dict,
    "explains": dict,
}


def file_facts(path):
    """Size and SHA-256 of a file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; read in pieces.

    Returns
    -------
    dict
        ``sha256`` (hexadecimal) and ``size`` (bytes).
    """
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return {"sha256": digest.hexdigest(), "size": size}


def write_config(folder, **facts):
    """Write ``config.json`` beside files that are all there.

    Arguments
    ---------
    folder : pathlib.Path
        The package.
    **facts
        ``kind``, ``mask_domain``, ``sample_rate`` (Hz), ``explains``
        (fingerprints of the explained model), and whatever describes it.
    """
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )
    config = {
        "speechbrain_interface": INTERFACE,
        "package_format": FORMAT,
        "speechbrain_lmac_version": __version__,
        **facts,
        "files": {name: file_facts(folder / name) for name in names},
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def read_config(folder):
    """Read and check ``config.json``; no other file is touched.

    Arguments
    ---------
    folder : str or pathlib.Path
        A package.

    Returns
    -------
    dict
        ``kind``, ``mask_domain``, ``sample_rate``, ``labels``, ``explains``,
        ``files`` (name -> ``sha256`` and ``size``), ...

    Raises
    ------
    UserError
        If there is no package, one of a newer version, or a broken one.
    UnsafePackageError
        If it names a file that is none of a package's, or outside of it.
    """
    path = Path(folder) / CONFIG_FILE
    config = read_json(path)
    if config.get("speechbrain_interface") != INTERFACE:
        raise UserError(
            f"{path}: expected `speechbrain_interface` {INTERFACE!r}, found "
            f"{config.get('speechbrain_interface')!r}; this is no package of "
            "a trained interpreter (see `lmac package`)."
        )
    version = config.get("package_format")
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{path}: the package is of format {version}, written by "
            f"speechbrain_lmac {config.get('speechbrain_lmac_version')!s:.20}; "
            f"this version ({__version__}) reads up to {FORMAT}. Upgrade it: "
            "pip install -U speechbrain_lmac"
        )
    if type(version) is not int or version < 1:  # True is an int, too
        raise UserError(
            f"{path}: expected `package_format` to be a whole number from 1 to "
            f"{FORMAT}, found {version!r:.60}. Fetch the package again."
        )
    wrong = [k for k, t in _FACTS.items() if not isinstance(config.get(k), t)]
    choices = {"kind": KINDS, "mask_domain": MASK_DOMAINS}
    wrong += [k for k, known in choices.items() if config.get(k) not in known]
    if wrong:
        found = (f"`{k}`: {config.get(k)!r:.60}" for k in dict.fromkeys(wrong))
        raise UserError(
            f"{path}: expected {', '.join(_FACTS)}, of these a `kind` of "
            f"{', '.join(KINDS)} and a `mask_domain` of "
            f"{', '.join(MASK_DOMAINS)}; found {', '.join(found)}. Fetch the "
            "package again."
        )
    _check_names(path, config["files"])
    needed = (HPARAMS_FILE, *[LABELS_FILE] * (config["kind"] == KINDS[0]))
    unlisted = [name for name in needed if name not in config["files"]]
    if unlisted:
        raise UserError(
            f"{path}: `files` names no {', '.join(unlisted)}. Fetch the "
            "package again."
        )
    return config


def read_json(path, max_bytes=MAX_CONFIG_BYTES):
    """The mapping of a JSON file of limited size.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    max_bytes : int
        Largest size.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        If it is missing, too large or no JSON mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise UserError(f"{path}: expected at most {max_bytes} bytes.")
        value = json.loads(content)
    except OSError as err:
        raise UserError(
            f"There is no readable {path} ({err.strerror}). Expected a "
            "package of a trained interpreter: write one with `lmac package "
            "<output folder of a training>`, or fetch it again."
        ) from err
    except (ValueError, RecursionError) as err:
        if isinstance(err, UserError):
            raise
        raise UserError(
            f"{path}: no valid JSON ({str(err)[:100]}). Fetch the package "
            "again."
        ) from err
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON mapping.")
    return value


def _check_names(path, files):
    """Refuse names of files that are none of a package's."""
    for name, facts in files.items():
        if Path(name).suffix.lower() in PICKLES:
            raise UnsafePackageError(_pickle_problem(f"{path}: {name}"))
        if not KNOWN_NAMES.fullmatch(name):
            raise UnsafePackageError(
                f"{path}: `files` names {name[:200]!r}, which is no file of a "
                "package. Nothing was read."
            )
        if not isinstance(facts, dict) or not (
            isinstance(facts.get("size"), int)
            and isinstance(facts.get("sha256"), str)
        ):
            raise UserError(
                f"{path}: expected `sha256` and `size` for {name}. Fetch the "
                "package again."
            )


def check_files(folder, config):
    """Check that a package is whole, unchanged and holds no pickle.

    Files that no package has are left alone, as nothing reads them. The model
    card is for people: it may be edited or left out.

    Arguments
    ---------
    folder : str or pathlib.Path
        The package.
    config : dict
        From :func:`read_config`.

    Raises
    ------
    UserError
        If files are missing or differ from what was written.
    UnsafePackageError
        If one is a pickle, or a link that leads out of the folder.
    """
    folder = Path(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = f"/{name}".count("/.") > 0
        if path.suffix.lower() in PICKLES and not hidden:
            raise UnsafePackageError(_pickle_problem(path))
        known = KNOWN_NAMES.fullmatch(name) and name != CARD_FILE
        if known and name not in config["files"]:
            raise UserError(
                f"{path}: {CONFIG_FILE} does not list this file, so that "
                "nobody can tell whether it belongs here. Remove it, or fetch "
                "the package again."
            )
    needed = {n: f for n, f in config["files"].items() if n != CARD_FILE}
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} misses {', '.join(missing)}. Fetch the package again, "
            "or write it again with `lmac package`."
        )
    for name, facts in needed.items():
        _check_place(folder, name)
        _check_content(folder / name, facts)


def _check_place(folder, name):
    """Refuse links out of the folder, but for those into the hub's cache.

    There a file is a link to ``models--<name>/blobs/<hash>``.
    """
    real, home = (folder / name).resolve(), folder.resolve()
    blobs = real.parent
    cached = blobs.name == "blobs" and blobs.parent.name.startswith("models--")
    if not real.is_relative_to(home) and not cached:
        raise UnsafePackageError(
            f"{folder / name} is a link to {real}, outside of the package. "
            "Replace it by a copy of the file."
        )


def _check_content(path, facts):
    """Compare size and checksum; the size first, as it costs nothing."""
    size = path.stat().st_size
    if path.suffix != ".safetensors" and size > MAX_TEXT_BYTES:
        raise UnsafePackageError(
            f"{path}: expected at most {MAX_TEXT_BYTES} bytes, found {size}."
        )
    found = {"size": size}
    if size == facts["size"]:
        found = file_facts(path)
    for key in ("size", "sha256"):
        if found[key] != facts[key]:
            raise UserError(
                f"{path} has changed since the package was written: its {key} "
                f"is {found[key]}, {CONFIG_FILE} says {facts[key]!s:.64}. "
                "Fetch the package again, or write it again with `lmac "
                "package`."
            )


def _pickle_problem(what):
    return (
        f"{what}: a package holds no pickles, which can run any code when "
        "they are loaded. Weights belong in .safetensors files: write the "
        "package again with `lmac package`. Nothing was read."
    )
