"""Who hears what in which order, and names that tell a listener nothing.

The page computes the same numbers (``static/study.js``), so an order can be
looked up here from a participant's code alone.
"""

import hashlib

MASK = 0xFFFFFFFF
PADDED = 32  # bytes of a concealed name


def random_numbers(text):
    """Numbers in [0, 1) that depend on a text alone, without end.

    The generator is mulberry32, seeded by the 32-bit FNV-1a hash of the text:
    a few lines in Python and in JavaScript that give the same numbers.

    Arguments
    ---------
    text : str
        The seed.

    Yields
    ------
    number : float

    Example
    -------
    >>> numbers = random_numbers("a")
    >>> round(next(numbers), 6), round(next(numbers), 6)
    (0.621686, 0.308223)
    """
    state = 0x811C9DC5
    for byte in text.encode("utf-8"):
        state = (state ^ byte) * 0x01000193 & MASK
    while True:
        state = state + 0x6D2B79F5 & MASK
        mixed = (state ^ state >> 15) * (state | 1) & MASK
        mixed ^= mixed + ((mixed ^ mixed >> 7) * (mixed | 61) & MASK) & MASK
        yield ((mixed ^ mixed >> 14) & MASK) / 2**32


def shuffled(values, text):
    """Shuffle values (Fisher and Yates); equal texts give equal orders.

    Arguments
    ---------
    values : sequence
        What to shuffle.
    text : str
        The seed.

    Returns
    -------
    shuffled : list

    Example
    -------
    >>> shuffled("abcde", "one") == shuffled("abcde", "one")
    True
    >>> sorted(shuffled("abcde", "two"))
    ['a', 'b', 'c', 'd', 'e']
    """
    values, numbers = list(values), random_numbers(text)
    for last in range(len(values) - 1, 0, -1):
        other = int(next(numbers) * (last + 1))
        values[last], values[other] = values[other], values[last]
    return values


def presentation_order(study, seed, participant, item, stimuli):
    """Order in which a participant meets the stimuli of an item.

    Arguments
    ---------
    study : str
        The study's code.
    seed : int
        The study's seed.
    participant : str
        The participant's code.
    item : str
        The item; the empty string for the order of the items themselves.
    stimuli : sequence of str
        The codes of the stimuli, in any order.

    Returns
    -------
    stimuli : list of str
        The first stands at position 1.

    Example
    -------
    >>> order = presentation_order("s", 0, "anna", "i1", ["x", "y", "z"])
    >>> order == presentation_order("s", 0, "anna", "i1", ["z", "y", "x"])
    True
    """
    return shuffled(sorted(stimuli), f"{study}/{seed}/{participant}/{item}")


def opaque_name(*parts):
    """Make a name of twelve characters that tells nothing of what it names.

    It begins with a letter, so that no program takes it for a number.

    Example
    -------
    >>> opaque_name(0, "clean", "clip 7", "lmac")
    'sf382fc87eff'
    """
    text = "\x1f".join(map(str, parts))
    return "s" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:11]


def conceal(method, study, stimulus):
    """Write a method's name so that a listener cannot read it.

    It is no encryption: who knows the page's script can undo it. The same
    method reads differently for every stimulus.

    Arguments
    ---------
    method : str
        The name.
    study, stimulus : str
        Codes of the study and of the stimulus.

    Returns
    -------
    concealed : str
        "~" and hexadecimal digits.

    Example
    -------
    >>> code = conceal("lmac", "s", "6a71d4f2ac32")
    >>> code[:9], reveal(code, "s", "6a71d4f2ac32")
    ('~b3cb6321', 'lmac')
    """
    # Padded: the length would tell, too.
    data = method.encode("utf-8").ljust(PADDED, b"\0")
    return "~" + _mixed(data, study, stimulus).hex()


def reveal(concealed, study, stimulus):
    """Undo :func:`conceal`; a plain name stays as it is.

    Raises
    ------
    ValueError
        If the text was not made by :func:`conceal` for this stimulus.
    """
    if not concealed.startswith("~"):
        return concealed
    data = bytes.fromhex(concealed[1:])
    method = _mixed(data, study, stimulus).decode("utf-8").rstrip("\0")
    if not method or not method.isprintable():
        raise ValueError("Expected a name that `conceal` made.")
    return method


def _mixed(data, study, stimulus):
    numbers = random_numbers(f"{study}/{stimulus}")
    return bytes(byte ^ int(next(numbers) * 256) for byte in data)
