r"""What `describe` says of a neuron, in LaTeX.

    s     = v_int >= 1      s &= v_{\mathrm{int}} \ge 1

Nothing is added and nothing is left out: numbers, signs and words are those of `describe`.
"""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
    r"|(?P<name>[A-Za-z]+(?:_[A-Za-z]+)*)"
    r"|(?P<sign><=|>=|==|[-+*/^=<>(),;:])"
    r"|(?P<space>\s+)"
)
SIGNS = {">=": r"\geq ", "<=": r"\leq ", "*": r"\cdot ", "==": "=", "=": "="}
FUNCTIONS = {"exp": r"\exp ", "floor": r"\mathrm{floor}", "min": r"\min ", "max": r"\max "}
MINUS = [(r"\+ -(?=\d)", "- "), (r"- -(?=\d)", "+ ")]


def aligned(description: str) -> tuple[str, list[str]]:
    """Returns the equations of a description as one aligned block, and its other lines as text.

    The first line of a description names the neuron and its step; it is left to the caller.

    Raises:
      ValueError: a character that is none of numbers, names, signs and spaces.
    """
    equations, remarks = [], []
    for line in description.splitlines()[1:]:
        left, equals, right = line.strip().partition("=")
        if equals and re.fullmatch(r"\w+\s*", left):
            body, _, note = right.partition("   (")
            equations.append(f"{expression(left)} &= {expression(body)}{remark(note)}")
        else:
            remarks.append(line.strip())
    return " \\\\\n".join(equations), remarks


def remark(note: str) -> str:
    """Returns the remark behind an equation, which stands in brackets."""
    return rf" \qquad \text{{({note}}}" if note else ""


def expression(text: str) -> str:
    """Returns an expression, which may hold words, in LaTeX."""
    for pattern, replacement in MINUS:
        text = re.sub(pattern, replacement, text)
    result, position, words = "", 0, False
    text = text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(
                f"expected numbers, names, signs and spaces, got {text[position]!r} in {text!r}:"
                " extend TOKEN"
            )
        position, token = match.end(), match[0]
        if match["number"]:
            result += number(token)
        elif match["name"]:
            words = is_word(token, words, text[position:])
            result += rf"\text{{ {token} }}" if words else symbol(token)
        elif match["sign"]:
            result += SIGNS.get(token, token)
        else:
            beside = text[match.start() - 1] + text[position : position + 1]
            result += " " if set(beside) & set("<>=+-/") else r"\, "
    return result


def is_word(token: str, after_word: bool, rest: str) -> bool:
    """Returns whether a name is a word of a sentence, and not a symbol or a function."""
    if token in FUNCTIONS:
        return False
    return len(token.split("_")[0]) > 1 or (after_word and re.match(r" [a-z]{2}", rest) is not None)


def symbol(name: str) -> str:
    """Returns a symbol with its subscripts, or the name of a function."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    base, *below = name.split("_")
    return base + (rf"_{{\mathrm{{{','.join(below)}}}}}" if below else "")


def number(text: str) -> str:
    """Returns a number, one with an exponent as a power of ten."""
    digits, _, exponent = text.partition("e")
    return digits + (rf" \cdot 10^{{{int(exponent)}}}" if exponent else "")
