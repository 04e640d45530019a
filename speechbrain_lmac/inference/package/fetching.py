"""Bring a package here: a folder as it is, a hub repository file by file.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
from pathlib import Path

from speechbrain.utils.fetching import (
    FetchConfig,
    FetchFrom,
    FetchSource,
    LocalStrategy,
    fetch,
)

from speechbrain_lmac.inference.package.files import (
    CONFIG_FILE,
    HPARAMS_FILE,
    read_config,
    read_json,
)
from speechbrain_lmac.utils.checks import UserError

#: In `savedir`: where the package that lies there was fetched from.
STAMP_FILE = ".fetched_from.json"
COPYING = (LocalStrategy.COPY, LocalStrategy.COPY_SKIP_CACHE)
ADVICE = "Give a package's folder, or a repository of the hub as owner/name."


def collect_package(
    source,
    savedir=None,
    local_strategy=LocalStrategy.SYMLINK,
    fetch_config=None,
):
    """Make all files of a package available in one folder.

    A folder is used where it is, unless ``local_strategy`` asks for a copy in
    ``savedir``. Of a hub repository ``config.json`` is fetched, then every
    file that it names; what is in ``savedir`` or in the hub's cache already
    is not fetched again, so that the network is needed once. A note in
    ``savedir`` tells what was fetched, so that no other package that lies
    there is taken for it.

    Arguments
    ---------
    source : str, pathlib.Path or FetchSource
        A folder, or a repository such as ``owner/name``.
    savedir : str or pathlib.Path or None
        Where the files go; None leaves them in the hub's cache.
    local_strategy : LocalStrategy
        As of ``speechbrain.utils.fetching.fetch``.
    fetch_config : FetchConfig or None
        Revision, token and the like.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    UserError
        If there is no such folder, a file cannot be fetched, ``savedir``
        holds another package, or ``config.json`` is none of a package, or
        names other files than a package has.
    """
    if isinstance(source, FetchSource):
        place, is_folder = source.path, source.FetchFrom == FetchFrom.LOCAL
    else:
        place, is_folder = source, Path(source).expanduser().is_dir()
    fetch_config = fetch_config or FetchConfig()
    if is_folder:
        folder = Path(place).expanduser()
        _check_no_revision(folder, fetch_config)
        copied = savedir is not None and local_strategy in COPYING
        if not copied or Path(savedir).resolve() == folder.resolve():
            return folder
        place = source = str(folder)
        # Else files of another package that lie there would be taken.
        fetch_config = FetchConfig(overwrite=True)
    elif not isinstance(source, FetchSource):
        _check_repository(str(source))
    if savedir is not None:
        savedir = Path(savedir).expanduser()
        _stamp(savedir, str(place), fetch_config)
    options = {
        "savedir": savedir,
        "local_strategy": local_strategy,
        "fetch_config": fetch_config,
    }
    config = _fetch(CONFIG_FILE, source, options, None)
    names = list(read_config(config.parent)["files"])
    for name in names:
        _fetch(name, source, options, names)
    return config.parent


def _check_repository(source):
    """Refuse what can be no repository, before the hub is asked."""
    local = source.startswith((".", "/", "~")) or source.count("/") != 1
    if local or Path(source).parent.is_dir():
        found = "a file" if Path(source).exists() else "no such folder"
        raise UserError(f"`source`: {source}: found {found}. {ADVICE}")


def _check_no_revision(folder, fetch_config):
    """Refuse a revision of a folder, which would be whatever lies there."""
    if fetch_config.revision is not None:
        raise UserError(
            f"`revision`: {folder} is a folder, which has no revision "
            f"{fetch_config.revision!r}. Leave it out, or give a repository "
            "of the hub as source."
        )


def _stamp(savedir, place, fetch_config):
    """Note what is fetched to a folder; refuse one with another package.

    Files that are there are taken without asking the hub, so they must have
    come from the same place.
    """
    stamp = savedir / STAMP_FILE
    wanted = {"source": place, "revision": fetch_config.revision}
    replace = fetch_config.overwrite or fetch_config.allow_updates
    there = [n for n in (CONFIG_FILE, HPARAMS_FILE) if (savedir / n).exists()]
    if there and not replace:
        found = read_json(stamp) if stamp.is_file() else {}
        if {key: found.get(key) for key in wanted} != wanted:
            raise UserError(
                f"`savedir`: {savedir} holds {_told(found)} ({there[0]}), not "
                f"{_told(wanted)}. Give another `savedir`, or, to use what is "
                f"there, {savedir} as source."
            )
    try:
        savedir.mkdir(parents=True, exist_ok=True)
        stamp.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    except OSError as err:
        raise UserError(
            f"`savedir`: {savedir} cannot be written to ({err.strerror}). "
            "Give another folder."
        ) from err


def _told(stamp):
    if "source" not in stamp:
        return "files of unknown origin"
    revision = stamp.get("revision")
    return stamp["source"] + (f" (revision {revision})" if revision else "")


def _fetch(name, source, options, names):
    place = source.path if isinstance(source, FetchSource) else source
    savedir = options["savedir"]
    try:
        if savedir is not None:
            (Path(savedir) / name).parent.mkdir(parents=True, exist_ok=True)
        return fetch(name, source, **options)
    except Exception as err:  # every hub client raises its own kinds
        wanted = ", ".join([CONFIG_FILE, *(names or ())])
        more = "" if names else " and the files that it names under `files`"
        raise UserError(
            f"`source`: cannot fetch {name} of {place} "
            f"({type(err).__name__}). Without a network, place {wanted}{more} "
            f"in {savedir or 'a folder'} and give that folder as source."
        ) from err
