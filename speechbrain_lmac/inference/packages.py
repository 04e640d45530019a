"""Bring a package here: a folder as it is, a hub repository file by file.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain.utils.fetching import (
    FetchConfig,
    FetchFrom,
    FetchSource,
    LocalStrategy,
    fetch,
)

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.packaging.files import CONFIG_FILE, read_config

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
    is not fetched again, so that the network is needed once.

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
        If there is no such folder, a file cannot be fetched, or
        ``config.json`` is none of a package, or names other files than a
        package has.
    """
    if isinstance(source, FetchSource):
        place, is_folder = source.path, source.FetchFrom == FetchFrom.LOCAL
    else:
        place, is_folder = source, Path(source).expanduser().is_dir()
    if is_folder:
        folder = Path(place).expanduser()
        if savedir is None or local_strategy not in COPYING:
            return folder
        source = str(folder)
        # Else files of another package that lie there would be taken.
        fetch_config = FetchConfig(overwrite=True)
    elif not isinstance(source, FetchSource):
        _check_repository(str(source))
    options = {
        "savedir": savedir,
        "local_strategy": local_strategy,
        "fetch_config": fetch_config or FetchConfig(),
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
