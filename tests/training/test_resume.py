"""A run that is stopped and resumed ends bitwise as one never stopped (exact tests)."""

import json
import shutil

import optax
import pytest

from sciml.training import JsonLines, load_model
from tests.training.disk_run import StopError, bits, check_same, make_model, run, run_until, without_times

pytestmark = pytest.mark.filterwarnings("ignore:.*steps were skipped")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, run(folder)


def test_a_folder_changes_nothing_in_what_is_computed(unbroken):
    """Property."""
    plain = run(None, save_every=None)
    assert bits(plain.last) == bits(unbroken[1].last)
    assert without_times(plain.history) == without_times(unbroken[1].history)


@pytest.mark.parametrize("stops", [(1,), (4,), (5,), (9, 14), (7, 7, 7), (20,)])
def test_a_run_that_is_stopped_and_resumed_is_bitwise_the_same(tmp_path, unbroken, stops):
    """Exact: skipped steps, the best model, complex and half precision weights and the log included."""
    for stop in stops:
        run_until(tmp_path / "run", stop, resume=True)
    result = run(tmp_path / "run", resume=True)
    saved = (stops[-1] - 1) // 4 * 4
    assert result.stats.resumed_from == (saved or None)
    check_same(tmp_path / "run", result, unbroken)


def test_the_model_that_is_given_on_resume_is_only_a_template(tmp_path, unbroken):
    run_until(tmp_path / "run", 10)
    check_same(tmp_path / "run", run(tmp_path / "run", model=make_model(seed=9), resume=True), unbroken)


def test_a_finished_run_is_read_and_not_run_again(tmp_path, unbroken):
    shutil.copytree(unbroken[0], tmp_path / "run")
    (tmp_path / "run" / "best.eqx").unlink()  # killed between the two files: it is written again
    result = run(tmp_path / "run", resume=True, log=pytest.fail)
    check_same(tmp_path / "run", result, unbroken)
    assert result.stats.resumed_from == 20
    for name, model in (("last", result.last), ("best", result.best)):
        assert bits(load_model(tmp_path / "run" / f"{name}.eqx", make_model())) == bits(model)


def test_patience_goes_on_counting(tmp_path):
    more = {"optimizer": optax.sgd(-1e-2), "validate_every": 2, "patience": 4}  # uphill: never a new best
    reference = run(tmp_path / "unbroken", **more)
    assert reference.stats.stopped_early
    assert reference.stats.steps == 10
    run_until(tmp_path / "run", 7, **more)
    result = run(tmp_path / "run", resume=True, **more)
    check_same(tmp_path / "run", result, (tmp_path / "unbroken", reference))
    assert run(tmp_path / "run", resume=True, **more).stats.stopped_early


@pytest.mark.parametrize(
    "tear", [b"", b'{"step": 13, "lo', b'{"step": 13}\n{"st', b"\x00\x00\n\n", b"nonsense\n"]
)
def test_a_torn_log_is_cut_back(tmp_path, unbroken, tear):
    run_until(tmp_path / "run", 11)
    with open(tmp_path / "run" / "log.jsonl", "ab") as file:
        file.write(tear)
    check_same(tmp_path / "run", run(tmp_path / "run", resume=True), unbroken)


def test_the_logs_of_the_user_are_cut_back_too(tmp_path, unbroken):
    def stop(step, metrics):
        if step >= 10:
            raise StopError

    with pytest.raises(StopError):
        run(tmp_path / "run", log=[JsonLines(tmp_path / "own.jsonl"), stop])
    run(tmp_path / "run", log=JsonLines(tmp_path / "own.jsonl", append=True), resume=True)
    lines = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    assert without_times(lines) == without_times(unbroken[1].history)
