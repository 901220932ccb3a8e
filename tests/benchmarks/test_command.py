"""Property tests of `python -m benchmarks`: it lists, runs, suggests, and a quick run keeps nothing."""

import sys

import jax
import pytest

from benchmarks import __main__ as command
from benchmarks._session import FOLDER

EXAMPLE = '''"""An example that measures nothing much.

More words.
"""

from benchmarks import record_claim, write_results


def run(quick: bool) -> None:
    record_claim(claim="foundation/example", value=1 if quick else 2, target="<= 1")
    row = {"seed": 0, "dtype": "float64", "compile_seconds": 0, "run_seconds": 0, "evaluations": 1, "error": 0}
    write_results("example", [row])
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of benchmarks with one in it, in the place of ours."""
    import benchmarks

    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "an_example.py").write_text(EXAMPLE)
    (folder / "_helper.py").write_text("")
    monkeypatch.setattr(command, "FOLDER", folder)
    monkeypatch.setattr(command.list_benchmarks, "__defaults__", (folder,))
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(folder)])
    monkeypatch.setattr(command.tempfile, "mkdtemp", lambda prefix: str(tmp_path / prefix))
    cached = jax.config.jax_enable_compilation_cache
    yield folder
    jax.config.update("jax_enable_compilation_cache", cached)
    sys.modules.pop("benchmarks.an_example", None)


def test_the_benchmarks_are_listed_with_what_they_measure(folder, capsys):
    assert command.main([]) == 0
    assert "an_example  An example that measures nothing much.\n" in capsys.readouterr().out


def test_every_benchmark_of_ours_can_be_run():
    """Those that cannot are an error of `list_benchmarks`."""
    assert set(command.list_benchmarks(FOLDER)) == {path.stem for path in FOLDER.glob("[!_]*.py")}


@pytest.mark.parametrize("name", ["an_example", "an-example"])
def test_a_benchmark_records_its_claims_and_results(folder, name, capsys):
    assert command.main([name]) == 0
    assert "foundation/example,2.0,<= 1,no," in (folder / "claims.csv").read_text()
    assert (folder / "claims.csv").read_text().rstrip().endswith(",python -m benchmarks an_example")
    assert (folder / "results" / "example.csv").exists()
    assert "foundation/example: 2, target <= 1, met: no" in capsys.readouterr().out


def test_a_quick_run_keeps_nothing(folder, tmp_path, capsys):
    assert command.main(["an_example", "--quick"]) == 0
    assert {path.name for path in folder.iterdir()} <= {"an_example.py", "_helper.py", "__pycache__"}
    temporary = tmp_path / "sciml-benchmarks-"
    assert "foundation/example,1.0,<= 1,yes," in (temporary / "claims.csv").read_text()
    assert str(temporary) in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_another_folder_can_be_named(folder, tmp_path, options):
    assert command.main(["an_example", *options, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "claims.csv").exists()
    assert (tmp_path / "out" / "results" / "example.csv").exists()
    assert not (folder / "claims.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["an_exampel"], "There is no benchmark 'an_exampel'. Did you mean 'an_example'?"),
        (["tabel"], "Did you mean 'table'?"),
        (["xyz"], "There are: an_example, table."),
    ],
)
def test_a_misspelled_name_gets_a_suggestion(folder, capsys, arguments, message):
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_quick_run_into_the_folder_of_the_claims_is_refused(folder, capsys):
    assert command.main(["an_example", "--quick", "--out", str(folder)]) == 2
    assert "A quick run measures nothing worth claiming" in capsys.readouterr().err
    assert not (folder / "claims.csv").exists()


@pytest.mark.parametrize(
    "source",
    [
        "def run(quick): ...",
        '"""Words."""',
        '"""Words."""\ndef run(): ...',
        '"""Words."""\ndef run(quick, fast): ...',
    ],
)
def test_a_module_that_is_no_benchmark_is_an_error(folder, capsys, source):
    (folder / "other.py").write_text(source)
    assert command.main([]) == 2
    assert (
        "other.py is no benchmark: it needs a docstring and a function run(quick: bool)"
        in capsys.readouterr().err
    )


def test_an_error_in_a_benchmark_is_not_hidden(folder):
    (folder / "an_example.py").write_text(f"{EXAMPLE}    raise ValueError('in the benchmark')\n")
    with pytest.raises(ValueError, match="in the benchmark"):
        command.main(["an_example", "--quick"])


def test_the_table_is_put_into_the_readme(folder, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- claims:begin -->\n<!-- claims:end -->\n")
    command.main(["an_example"])
    table = command.update_table(readme, folder / "claims.csv")
    assert "| foundation/example | 2 |" in table
    assert readme.read_text() == f"<!-- claims:begin -->\n{table}\n<!-- claims:end -->\n"


def test_a_readme_without_markers_is_left_as_it_was(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("words")
    with pytest.raises(command.UsageError, match=r"README.md is left as it was. The document needs one line"):
        command.update_table(readme, tmp_path / "claims.csv")
    assert readme.read_text() == "words"
