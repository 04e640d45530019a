"""Count lines of code and of docstrings, by room.

    python tools/count_lines.py [FOLDER ...]

Code lines hold something else than blanks, comments and docstrings. Without
arguments: the package, the recipes, the tests, the tools and the benchmarks.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("speechbrain_lmac", "recipes", "tests", "tools", "benchmarks")
EMPTY = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
DOCUMENTED = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)


def count_lines(source: str) -> tuple[int, int]:
    r"""Lines of code and of docstrings in the text of a module.

    >>> count_lines('def f():\n    "Return one."\n\n    return 1  # always\n')
    (2, 1)
    """
    docstrings: set[int] = set()
    code: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            text = node.body[0]
            docstrings.update(range(text.lineno, (text.end_lineno or 0) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in EMPTY:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings), len(docstrings)


def count_rooms(folder: Path) -> dict[str, tuple[int, ...]]:
    """Code lines, docstring lines and files of a folder's parts, by name."""
    rooms: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).parts
        name = f"{folder.name}/{inside[0]}" if inside[1:] else folder.name
        counts = (*count_lines(path.read_text(encoding="utf-8")), 1)
        before = rooms.get(name, (0, 0, 0))
        rooms[name] = tuple(map(sum, zip(before, counts, strict=True)))
    return rooms


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = [ROOT / name for name in FOLDERS]
    parser.add_argument("folders", nargs="*", type=Path, default=default)
    line = "{:40}{:>8}{:>12}{:>8}".format
    print(line("", "code", "docstrings", "files"))
    for folder in parser.parse_args(arguments).folders:
        rooms = count_rooms(folder.resolve())
        for name, counts in rooms.items():
            print(line(name, *counts))
        total = map(sum, zip(*rooms.values(), strict=True))
        print(line(f"{folder.name}: all", *total) + "\n")


if __name__ == "__main__":
    main()
