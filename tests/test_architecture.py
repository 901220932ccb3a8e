"""The rules that docs/design.md sets: who imports whom, abstract or final, and what docstrings say.

Property tests of the source itself. Each check is first shown to find the fault it is there for, in a small package
that has it, and to be content with the same package without.
"""

import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.checks import classes, docstrings, imports, text

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sciml"
NOTHING = frozenset()
RULES = {
    "pdes": NOTHING,
    "nn": NOTHING,
    "data": frozenset({"pdes"}),
    "training": NOTHING,
    "diffeqs": frozenset({"pdes", "nn"}),
    "meshes": frozenset({"pdes", "nn"}),
    "constraints": frozenset({"pdes", "nn"}),
    "experiments": imports.EVERYTHING,
    "__main__": imports.EVERYTHING,
}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("[!_]*/__init__.py"))


def _report(faults: list[str]) -> str:
    return f"{len(faults)} faults:\n" + "\n".join(faults)


def test_the_design_document_has_the_same_table_of_rooms():
    """Whoever changes a rule changes it in docs/design.md and here, on purpose."""
    assert imports.read_table((ROOT / "docs" / "design.md").read_text()) == RULES


def test_rooms_import_only_what_the_table_allows():
    faults = imports.faults(PACKAGE, RULES)
    assert not faults, _report(faults)


def test_files_are_short_finished_american_and_leave_precision_alone():
    faults = text.faults(PACKAGE)
    assert not faults, _report(faults)


def test_classes_are_abstract_or_final():
    faults = classes.faults("sciml")
    assert not faults, _report(faults)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_documented(room):
    faults = docstrings.faults(importlib.import_module(f"sciml.{room}"))
    assert not faults, _report(faults)


def test_every_room_of_the_first_release_is_there():
    """Without this the test above could pass on an empty package."""
    assert {"data", "experiments", "nn", "pdes", "training"} <= set(ROOMS)


def test_continuous_integration_runs_the_command_of_the_readme():
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert command.startswith("python -m pytest")
    assert command in (ROOT / "README.md").read_text()


# The checks themselves, on packages that break one rule each.

GOOD = {
    "__init__.py": '"""A package."""\n__version__ = "1"\n',
    "_optional.py": "import importlib\n",
    "pdes/__init__.py": '''
"""A room."""
import abc
import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["AbstractLaw", "Law", "rate"]

class AbstractLaw(eqx.Module):
    """A law."""
    @abc.abstractmethod
    def rate(self, u: Float[Array, "channel x"]) -> Float[Array, "channel x"]:
        """The rate.

        **Arguments:**

        - `u`: the field `(channel, x)`.

        **Returns:** the rate `(channel, x)`.
        """

class Law(AbstractLaw):
    """A law.

    **Arguments:**

    - `speed`: in length per time, a scalar.
    """
    speed: Float[Array, ""]
    def rate(self, u):
        return self.speed * u

def rate(law: AbstractLaw, u: Float[Array, "channel *space"], *, key: PRNGKeyArray | None = None) -> None:
    """The rate.

    **Arguments:**

    - `law`: the law.
    - `u`: the field
        `(channel, *space)`.
    - `key`: a key.
    """
''',
    "data/__init__.py": '"""A room."""\nfrom ..pdes import Law\nfrom .. import _optional, __version__\n',
}
LAW = "pdes/__init__.py"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package with one change to `GOOD`; return its folder, importable under the name `demo`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(file: str | None = None, old: str | None = None, new: str = "") -> Path:
        contents = dict(GOOD)
        if old is not None:
            assert contents[file].count(old) >= 1
            contents[file] = contents[file].replace(old, new)
        elif file is not None:
            contents[file] = contents.get(file, "") + new
        for name, content in contents.items():
            path = tmp_path / "demo" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path / "demo"

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "demo"]:
        del sys.modules[name]


def test_every_check_is_content_with_a_good_package(package):
    folder = package()
    assert not imports.faults(folder, RULES) + text.faults(folder) + classes.faults("demo")
    assert not docstrings.faults(importlib.import_module("demo.pdes"))


@pytest.mark.parametrize(
    ("file", "line", "target"),
    [
        ("pdes/burgers.py", "from demo.nn import FNO", "demo.nn"),
        ("pdes/burgers.py", "from demo import nn", "demo.nn"),
        ("pdes/burgers.py", "from ..nn import FNO", "demo.nn"),
        ("pdes/burgers.py", "from .. import nn", "demo.nn"),
        ("pdes/deep/burgers.py", "from ...nn.fno import FNO", "demo.nn.fno"),
        ("pdes/burgers.py", "import demo.nn.fno as fno", "demo.nn.fno"),
        ("pdes/burgers.py", "import demo", "demo"),
        ("pdes/burgers.py", "def f():\n    from demo.data import simulate", "demo.data.simulate"),
        ("pdes/burgers.py", "importlib.import_module('demo.data')", "demo.data"),
        ("pdes/burgers.py", "require('demo.data', extra='data')", "demo.data"),
        ("pdes/burgers.py", "import demo.pdes\ndemo.nn.FNO", "demo.nn"),
        ("meshes/mover.py", "from demo.constraints import Layer", "demo.constraints"),
        ("training/loop.py", "from sciml import pdes\nfrom demo.pdes import Law", "demo.pdes"),
        ("_optional.py", "from .pdes import Law", "demo.pdes"),
        ("experiments/burgers.py", "from demo.__main__ import main", "demo.__main__"),
        ("tools/thing.py", "import os", "tools"),
    ],
)
def test_a_wrong_import_is_found(package, file, line, target):
    folder = package(file, new=f"{line}\n")
    (fault,) = imports.faults(folder, RULES)
    assert file in fault
    assert target in fault


def test_a_table_of_rooms_that_cannot_be_read_is_an_error():
    with pytest.raises(ValueError, match="cannot read 'whatever it likes'"):
        imports.read_table("| `pdes` | laws | whatever it likes |")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("x = 1\n" * 501, "more than 500"),
        ("# TODO: the rest\n", "TODO is left"),
        ("def f():\n    raise NotImplementedError\n", "NotImplementedError is left"),
        ('jax.config.update("jax_enable_x64", True)\n', "sets jax_enable_x64"),
        ("jax.config.jax_enable_x64 = True\n", "sets jax_enable_x64"),
        ('os.environ["JAX_ENABLE_X64"] = "1"\n', "sets jax_enable_x64"),
        ("# a regularised loss\n", "'regularis' is British"),
        ("def normalise(x): ...\n", "'normalis' is British"),
        ("# the Neighbour's behavior\n", "'Neighbour' is British"),
        ("# optimised\n", "'optimise' is British"),
    ],
)
def test_unwanted_text_is_found(package, new, message):
    faults = text.faults(package("pdes/more.py", new=new))
    assert len(faults) == 1, _report(faults)
    assert message in faults[0]


def test_wanted_text_is_left_alone(package):
    new = (
        "import jax\nimport optimistix\nif jax.config.jax_enable_x64:\n    optimistix.minimise\n"
        "with jax.enable_x64(True):\n    pass\n"
    )
    assert not text.faults(package("data/more.py", new=new))


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("class Fast(Law):\n    '''A law.'''\n", "Fast inherits from Law, which is final"),
        ("class _Fast(Law):\n    '''A law.'''\n", "_Fast inherits from Law, which is final"),
        (
            "class AbstractFast(eqx.Module):\n    x: int\n",
            "AbstractFast is named abstract, but leaves nothing",
        ),
        ("class Fast(AbstractLaw):\n    '''A law.'''\n", "Fast is final by its name, but leaves .'rate'."),
        (
            "class Fast(eqx.Module):\n    x: eqx.AbstractVar[int]\n",
            "Fast is final by its name, but leaves .'x'.",
        ),
        (
            "class AbstractFast(AbstractLaw):\n    x: int\nclass Fast(AbstractFast):\n    y: int\n    rate = 1\n",
            r"Fast has fields or an __init__ in \['Fast', 'AbstractFast'\]",
        ),
        (
            "class AbstractFast(AbstractLaw):\n    x: int\n"
            "class Fast(AbstractFast):\n    rate = 1\n    def __init__(self):\n        self.x = 1\n",
            r"Fast has fields or an __init__ in \['Fast', 'AbstractFast'\]",
        ),
    ],
)
def test_a_class_neither_abstract_nor_final_is_found(package, new, message):
    package(LAW, new=new)
    faults = classes.faults("demo")
    assert len(faults) == 1, _report(faults)
    assert re.search(message, faults[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"""A room."""', "", "demo.pdes has no docstring"),
        ("__all__", "__some__", "has no __all__"),
        ('"rate"]', '"rate", "gone"]', "gone is in __all__ but does not exist"),
        ('"""A law.\n\n    **A', '"""\n\n    **A', "Law: its docstring does not open with a sentence"),
        ("- `speed`: in", "- speed: in", "the parameter 'speed' is not in its docstring"),
        (", a scalar", "", "demo.pdes.Law: the parameter 'speed' is an array"),
        ("    - `law`: the law.\n", "", "rate: the parameter 'law' is not in its docstring"),
        ("law: AbstractLaw", "law", "rate: the parameter 'law' is not annotated"),
        ("-> None", "", "rate: what it returns is not annotated"),
        ("`(channel, *space)`", "everywhere", "rate: the parameter 'u' is an array"),
        (
            "the field\n        `(channel, *space)`",
            "of the same shape",
            "rate: the parameter 'u' is an array",
        ),
        ("`(channel, *space)`", "`()`", "rate: the parameter 'u' is an array"),
        ("- `law`: the law", "- `law`: an array", "'law' is said to be an array"),
        (
            "the field `(channel, x)`",
            "the field `(channel,)`",
            "AbstractLaw.rate: the parameter 'u' is an array",
        ),
        ("the field `(channel, x)`", "it (the field)", "AbstractLaw.rate: the parameter 'u' is an array"),
        ("the rate `(channel, x)`", "it, `(a, b, c)`", "AbstractLaw.rate: what it returns is an array"),
        ("**Returns:** the", "The", "AbstractLaw.rate returns an array, but has no"),
        ('"""The rate.', '""" """\n    """', "rate has no docstring"),
    ],
)
def test_a_docstring_that_says_too_little_is_found(package, old, new, message):
    package(LAW, old=old, new=new)
    faults = docstrings.faults(importlib.import_module("demo.pdes"))
    assert faults
    assert any(re.search(message, fault) for fault in faults), _report(faults)


def test_a_property_says_the_shape_it_returns(package):
    package(
        LAW,
        old="    def rate(self, u):\n",
        new="    @property\n    def size(self) -> Float[Array, 'x']:\n        '''Size.'''\n        return self.speed\n"
        "    def rate(self, u):\n",
    )
    (fault,) = docstrings.faults(importlib.import_module("demo.pdes"))
    assert "Law.size: what it returns is an array" in fault
