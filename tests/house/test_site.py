"""The documentation site: its pages are linked, their code runs, and equations are what they say.

The build itself, ``sphinx-build -W -n docs build/site``, runs the tutorials; `.ci/run` has it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import docstrings
import latex
import matplotlib.mathtext
import numpy as np
import pytest
import signatures

import flax_snn as snn

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


CODE = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
CELL = re.compile(r"```\{code-cell\} ipython3\n(.*?)```", flags=re.DOTALL)
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_ext" not in path.parts)
NAMES = [str(path.relative_to(DOCS)) for path in PAGES]
# Pages of which this file runs the code; the others name the test that does.
OTHERS = {"gpu.md", "learning.md", "online.md", "sound.md"}
RUN_HERE = [
    name
    for name in NAMES
    if name.startswith(("guides/", "coming_from/", "getting")) or name in OTHERS
    if CODE.search((DOCS / name).read_text())
]
CHEAP = {"guides/time_units.md", "coming_from/snntorch.md"}
# Tables of measured numbers are printed there that the page does not show.
PRINTS_MORE = {"online.md", "learning.md"}
NEEDS = {"guides/export.md": "flatbuffers"}


def rows(names: list[str], cheap: set[str]) -> list[Any]:
    """Returns the pages as rows of a test, slow but for the cheap ones."""
    return [n if n in cheap else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.optimizer
@pytest.mark.parametrize(
    "name", rows([n for n in RUN_HERE if CODE.search((DOCS / n).read_text())], CHEAP)
)
def test_the_python_of_a_page_runs_and_prints_what_it_says(
    name: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    names: dict[str, Any] = {}
    promised = 0
    for block in CODE.findall((DOCS / name).read_text()):
        exec(compile(block, name, "exec"), names)
        lines = [line[2:] for line in block.splitlines() if line.startswith("# ")]
        printed = capsys.readouterr().out.splitlines()
        assert printed == lines or (name in PRINTS_MORE and not lines)
        promised += len(lines)
    assert promised or name in PRINTS_MORE, f"docs/{name} prints nothing that is compared"


def test_every_page_with_code_has_a_test_that_runs_it() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    missing = []
    for name in sorted(set(NAMES) - set(RUN_HERE)):
        if CODE.search((DOCS / name).read_text()):
            file = Path(name).name
            others = [text for test, text in sources.items() if test != "test_site.py"]
            if not any(f'"{file}"' in text or f"docs/{file}" in text for text in others):
                missing.append(name)
    assert not missing, f"no test runs the code of {missing}"


def test_every_page_is_in_the_tree_once_and_no_deeper_than_two() -> None:
    listed: list[str] = []
    for page in PAGES:
        depth = len(page.relative_to(DOCS).parts)
        assert depth <= 2, page
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), flags=re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            entries = [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries]
            listed += [str((page.parent / entry).relative_to(DOCS)) for entry in entries]
    pages = {name.removesuffix(".md") for name in NAMES} - {"index"}
    assert sorted(listed) == sorted(pages)


def test_guides_are_short() -> None:
    for page in (DOCS / "guides").glob("*.md"):
        assert 20 <= len(page.read_text().splitlines()) <= 90, page


@pytest.mark.parametrize("page", sorted((DOCS / "tutorials").glob("*.md")), ids=lambda p: p.stem)
def test_tutorials_are_notebooks_that_check_what_they_show(page: Path) -> None:
    text = page.read_text()
    cells = CELL.findall(text)
    if page.stem == "spoken_digits":  # Its recordings are not here.
        assert not cells and "nothing on this page runs" in text
        return
    assert text.startswith("---\njupytext:") and len(cells) >= 3
    for number, cell in enumerate(cells):
        compile(cell, f"{page.name}, cell {number}", "exec")
    assert any("assert" in cell for cell in cells)
    assert any("plt." in cell for cell in cells)


def test_the_page_of_each_other_framework_prints_the_same_there_and_here() -> None:
    for page in (DOCS / "coming_from").glob("*.md"):
        text = page.read_text()
        there = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)
        if page.stem == "index":
            continue
        (here,) = CODE.findall(text)
        blocks = [block.splitlines() for block in [*there, here]]
        outputs = [[line for line in lines if line.startswith("# ")] for lines in blocks]
        assert outputs[0] == outputs[1] and len(outputs[0]) >= 3, page


def descriptions() -> dict[str, str]:
    """What every neuron and convention says of itself, where it can be made without arguments."""
    made = {name: getattr(snn, name) for name in snn.__all__ if name.endswith("Dynamics")}
    made |= {name: getattr(snn.conventions, name) for name in snn.conventions.__all__}
    found = {}
    for name, make in made.items():
        try:
            found[name] = make().describe()
        except TypeError:
            continue
    return found


@pytest.mark.parametrize(("name", "description"), descriptions().items(), ids=descriptions())
def test_equations_have_every_number_and_are_latex(name: str, description: str) -> None:
    equations, remarks = latex.aligned(description)
    lines = description.splitlines()[1:]
    assert len(equations.split("\\\\\n")) + len(remarks) == len(lines)
    numbers = re.compile(r"(?<![a-z_])\d+(?:\.\d+)?")
    shown = " ".join([equations, *remarks])
    for text in lines:
        for number in numbers.findall(text.replace("e-", " ")):
            assert number in shown
    # No name is lost or made up.
    words = re.compile(r"[a-z]{3,}")
    written = {w for line in lines for w in words.findall(line)}
    commands = {"mathrm", "text", "qquad", "cdot", "geq", "leq", "exp", "floor"}
    assert written == set(words.findall(shown)) - (commands - written)
    parser = matplotlib.mathtext.MathTextParser("path")
    for equation in equations.split("\\\\\n"):
        parser.parse("$" + equation.replace("&", "") + "$")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("v_int = 0.9 v + -0.1 i", r"v_{\mathrm{int}} &= 0.9\, v - 0.1\, i"),
        ("s = v >= 1", r"s &= v \geq  1"),
        ("w = 1e-05 w (x - -70)", r"w &= 1 \cdot 10^{-5}\, w\, (x + 70)"),
        (
            "v = 0 for 2 steps   (held)",
            r"v &= 0\, \text{ for }\, 2\, \text{ steps } \qquad \text{(held)}",
        ),
    ],
)
def test_an_equation_in_latex(line: str, expected: str) -> None:
    assert latex.aligned(f"a neuron\n  {line}") == (expected, [])


def test_what_no_equation_has_is_refused() -> None:
    with pytest.raises(ValueError, match="got '&'"):
        latex.expression("v & w")


def test_docstrings_are_read_as_plain_english() -> None:
    """Equations are literal, what looks like markup is escaped, code and sections are left."""
    given = """Builds a neuron of ``(*B, T)``: |x| and x_ of `w_`.

    v <- v * a

Where * is a product.

>>> print("*")

Args:
  x: of shape (*B,).
""".splitlines()
    expected = r"""Builds a neuron of ``(*B, T)``: \|x\| and x\_ of `w_`.

::

    v <- v * a

Where \* is a product.

>>> print("*")

Args:
  x: of shape (\*B,).
""".splitlines()
    assert docstrings.readable(given) == expected


def test_signatures_are_those_of_the_source() -> None:
    class Example:
        def __init__(
            self, a: np.typing.ArrayLike, *, b: tuple[int, ...] = (2,), parent: Any = None
        ) -> None: ...

    shown = signatures.process(None, "class", "", Example, None, "()", None)
    assert shown == ("(a: ArrayLike, *, b: tuple[int, ...] = (2,))", "")
    assert signatures.default_of((1, None)) == "(1, None)"
    assert signatures.default_of(snn.LIFDynamics()) == "LIFDynamics(...)"
    assert (
        signatures.text_of('Float[Array | np.ndarray, "*B T"]') == 'Float[Array | ndarray, "*B T"]'
    )
