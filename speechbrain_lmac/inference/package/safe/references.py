"""References, sums and tuples in the texts of a YAML file's nodes.

Authors
 * The speechbrain_lmac authors 2026
"""

import ast
import operator
import re

from ruamel.yaml.nodes import ScalarNode

from speechbrain_lmac.inference.package.safe.yaml_text import STANDARD, TUPLE

REFERENCE = re.compile(r"<(\w+)((?:\[\w+\])*)>", re.ASCII)
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
}


def references(node):
    """Matches of the references in a node's text, in their order."""
    return list(REFERENCE.finditer(node.value))


def is_whole(node):
    """Whether a reference stands alone, so that its target keeps its type."""
    return REFERENCE.fullmatch(node.value.strip()) is not None


def is_tuple(node):
    """Whether a node is a tuple: by its tag, or text in round brackets."""
    return node.tag == "!tuple" or (
        isinstance(node, ScalarNode)
        and node.tag == STANDARD + "str"
        and node.style is None
        and TUPLE.fullmatch(node.value) is not None
    )


def arithmetic(text):
    """The number that a text of sums and products stands for, or the text.

    >>> arithmetic("2 * 6"), arithmetic("results/6"), arithmetic("2 ** 9")
    (12, 'results/6', '2 ** 9')
    """
    try:
        return _number(ast.parse(text.strip(), mode="eval").body)
    except (
        ArithmeticError,
        KeyError,
        MemoryError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
    ):
        return text


def _number(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left), _number(node.right)
        return OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](_number(node.operand))
    raise TypeError(node)
