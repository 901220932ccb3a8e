"""Property tests of the claims: what is met is worked out from the value, and the README shows what was recorded."""

import csv
import multiprocessing
import re
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks import record_claim
from benchmarks._claims import (
    COLUMNS,
    NAME,
    evaluate_target,
    insert_table,
    make_table,
    read_claims,
)
from benchmarks._session import ROOT, open_session

CLAIMS = ROOT / "benchmarks" / "claims.csv"


@pytest.fixture
def folder(tmp_path):
    with open_session(tmp_path / "benchmarks", "python -m benchmarks example") as session:
        yield session.folder


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        ("<= 1e-6", 1e-6, "yes"),
        ("<= 1e-6", 1.0000001e-6, "no"),
        ("<=1e-6", 9e-7, "yes"),
        ("< 5", 5.0, "no"),
        ("> -2.5", -2.4, "yes"),
        (">= 20", 20.5, "yes"),
        (">= 20", 19.9, "no"),
        ("== 0", 0.0, "yes"),
        ("== 0", 1.0, "no"),
        ("within 0.25 of 2", 1.75, "yes"),
        ("within 0.25 of 2", 2.26, "no"),
        ("report", 3.1, "reported"),
        ("report", float("nan"), "no"),
        ("<= 1", float("nan"), "no"),
        (">= 1", float("inf"), "no"),
    ],
)
def test_a_target_is_met_or_not_by_the_value_alone(target, value, met):
    assert evaluate_target(target, value) == met


@pytest.mark.parametrize(
    "target", ["", "1e-6", "=< 1", "<= small", "<= 1e-6 or so", "within 2", "yes", "<= nan"]
)
def test_a_target_that_cannot_be_read_is_an_error(target):
    with pytest.raises(ValueError, match="cannot be read: write a comparison such as"):
        evaluate_target(target, 0.0)


def test_a_claim_is_one_row_in_place_of_its_last(folder):
    assert record_claim(claim="meshes/tangling", value=0, target="== 0")
    assert not record_claim(claim="foundation/burgers", value=jnp.asarray(3.0), target="<= 1", seeds=range(3))
    assert record_claim(
        claim="foundation/burgers", value=0.5, target="<= 1", seeds=(0, 1), command="sciml compare a b"
    )
    first, second = read_claims(folder / "claims.csv")
    assert tuple(first) == COLUMNS
    assert (first["claim"], first["value"], first["target"], first["met"]) == (
        "foundation/burgers",
        "0.5",
        "<= 1",
        "yes",
    )
    assert (first["seeds"], first["command"]) == ("0 1", "sciml compare a b")
    assert re.fullmatch(r"[0-9a-f]{7,}\+?|unknown", first["commit"])
    assert "cores" in first["device"]
    assert (second["claim"], second["command"], second["seeds"]) == (
        "meshes/tangling",
        "python -m benchmarks example",
        "",
    )
    assert [path.name for path in folder.iterdir()] == ["claims.csv"]


def test_a_value_is_kept_to_its_last_digit(folder):
    record_claim(claim="foundation/burgers", value=0.1 + 0.2, target="report")
    assert float(read_claims(folder / "claims.csv")[0]["value"]) == 0.1 + 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claim": "burgers"}, "must be named GROUP/NAME"),
        ({"claim": "other/burgers"}, "GROUP one of foundation, regularization"),
        ({"claim": "foundation/Burgers 1-D"}, "in lower case"),
        ({"value": "fast"}, "must be one number; got 'fast'"),
        ({"value": jnp.ones(2)}, "must be one number"),
        ({"target": "small"}, "cannot be read"),
    ],
)
def test_a_bad_claim_is_an_error_and_changes_nothing(folder, change, message):
    record_claim(claim="foundation/burgers", value=1, target="<= 1")
    before = (folder / "claims.csv").read_bytes()
    with pytest.raises(ValueError, match=message):
        record_claim(**{"claim": "foundation/burgers", "value": 2, "target": "<= 1", **change})
    assert (folder / "claims.csv").read_bytes() == before


def test_what_is_met_cannot_be_said_by_hand(folder):
    with pytest.raises(TypeError, match="met"):
        record_claim(claim="foundation/burgers", value=2, target="<= 1", met="yes")


def test_nothing_is_recorded_outside_a_benchmark():
    before = CLAIMS.read_bytes() if CLAIMS.exists() else None
    with pytest.raises(RuntimeError, match="Run it by `python -m benchmarks NAME`"):
        record_claim(claim="foundation/burgers", value=2, target="<= 1")
    assert (CLAIMS.read_bytes() if CLAIMS.exists() else None) == before


def _record(folder: str, number: int) -> None:
    with open_session(Path(folder), "a command"):
        for repeat in range(5):
            record_claim(claim=f"foundation/claim-{number}-{repeat}", value=number, target="report")


def test_two_benchmarks_that_record_at_once_lose_no_row(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_record, args=(str(tmp_path), number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_claims(tmp_path / "claims.csv")) == 10


def test_a_file_with_other_columns_is_not_written_over(folder):
    (folder / "claims.csv").write_text("name,value\na,1\n")
    with pytest.raises(ValueError, match="must have the columns claim, value"):
        record_claim(claim="foundation/burgers", value=2, target="<= 1")
    assert (folder / "claims.csv").read_text() == "name,value\na,1\n"


def test_the_table_shows_misses(folder):
    record_claim(claim="foundation/burgers", value=0.000123456, target="<= 1e-6", seeds=(0, 1, 2))
    record_claim(claim="foundation/speed", value=1.2, target="report", device="a | b")
    lines = make_table(read_claims(folder / "claims.csv")).splitlines()
    assert lines[0] == "2 claims measured, 1 of them missed."
    assert lines[4].startswith("| foundation/burgers | 0.000123 | `<= 1e-6` | **no** | 0 1 2 |")
    assert lines[5].startswith(r"| foundation/speed | 1.2 | `report` | reported | - | a \| b |")


def test_the_table_takes_the_place_of_the_last_one():
    document = "Title\n<!-- claims:begin -->\nold\n<!-- claims:end -->\nend\n"
    expected = "Title\n<!-- claims:begin -->\nnew\n<!-- claims:end -->\nend\n"
    assert insert_table(document, "new") == expected
    assert insert_table(expected, "new") == expected


@pytest.mark.parametrize(
    "document",
    [
        "no markers",
        "<!-- claims:begin -->",
        "<!-- claims:end --><!-- claims:begin -->",
        "<!-- claims:begin --><!-- claims:end --><!-- claims:end -->",
    ],
)
def test_a_document_without_its_markers_is_an_error(document):
    with pytest.raises(ValueError, match=r"needs one line <!-- claims:begin --> and, after it"):
        insert_table(document, "table")


def test_the_readme_shows_the_claims_that_were_recorded():
    """`python -m benchmarks table` makes it so."""
    readme = (ROOT / "README.md").read_text()
    assert insert_table(readme, make_table(read_claims(CLAIMS))) == readme


def test_the_recorded_claims_were_not_written_by_hand():
    rows = read_claims(CLAIMS)
    for row in rows:
        assert NAME.fullmatch(row["claim"])
        assert row["met"] == evaluate_target(row["target"], float(row["value"])), row
        assert all(row[column] for column in COLUMNS if column != "seeds"), row
    assert len({row["claim"] for row in rows}) == len(rows)


def test_the_recorded_results_are_tidy():
    for path in (ROOT / "benchmarks" / "results").glob("*.csv"):
        rows = list(csv.DictReader(path.open(newline="")))
        assert rows, path
        assert all(None not in row and None not in row.values() for row in rows), path
