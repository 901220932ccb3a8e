"""What is on disk is passed over when it is damaged, and refused when it is another's; nothing is destroyed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

from sciml.training.checkpoints import RunFolder
from tests.training.disk_run import check_same, make_model, run, run_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.*steps were skipped")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, run(folder)


# Damage.


def files_of(checkpoint):
    return [path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size > 4]


def truncate_largest(checkpoint):
    path = max(files_of(checkpoint), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_notes(checkpoint):
    path = checkpoint / "config" / "metadata"
    path.write_text(path.read_text().replace('"crc32": ', '"crc32": 1'))


def empty_all(checkpoint):
    for path in files_of(checkpoint):
        path.write_bytes(b"")


def remove_all(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


@pytest.mark.parametrize("damage", [truncate_largest, flip_notes, empty_all, remove_all])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, unbroken, damage):
    run_until(tmp_path / "run", 14)
    damage(tmp_path / "run" / "checkpoints" / "12")
    with pytest.warns(
        UserWarning, match=r"checkpoint of step 12 in .* does not read .*goes on from the one before"
    ):
        result = run(tmp_path / "run", resume=True)
    assert result.stats.resumed_from == 8
    check_same(tmp_path / "run", result, unbroken)
    assert (tmp_path / "run" / "unreadable-checkpoints" / "12-0").is_dir()


def test_all_checkpoints_damaged_is_a_start_from_the_beginning(tmp_path, unbroken):
    run_until(tmp_path / "run", 10)
    for step in ("4", "8"):
        truncate_largest(tmp_path / "run" / "checkpoints" / step)
    with pytest.warns(UserWarning, match="does not read"):
        result = run(tmp_path / "run", resume=True)
    assert result.stats.resumed_from is None
    check_same(tmp_path / "run", result, unbroken)


def test_a_half_removed_old_checkpoint_is_no_reason_to_warn(tmp_path, unbroken, recwarn):
    run_until(tmp_path / "run", 14)
    truncate_largest(tmp_path / "run" / "checkpoints" / "8")
    check_same(tmp_path / "run", run(tmp_path / "run", resume=True), unbroken)
    assert not [warning for warning in recwarn if "does not read" in str(warning.message)]


def test_litter_of_a_killed_write_is_swept_up(tmp_path, unbroken):
    run_until(tmp_path / "run", 10)
    litter = tmp_path / "run" / "checkpoints" / "12.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "run" / "checkpoints" / "8", litter)
    (tmp_path / "run" / ".last.eqx.123.tmp").write_bytes(b"half")
    check_same(tmp_path / "run", run(tmp_path / "run", resume=True), unbroken)
    assert not litter.exists()
    assert not list((tmp_path / "run").glob(".*.tmp"))


# A full disk.


def test_a_full_disk_is_said_and_the_checkpoints_before_are_intact(tmp_path, unbroken, monkeypatch):
    import orbax.checkpoint as ocp

    save = ocp.CheckpointManager.save

    def fill(manager, step, *args, **more):
        if step == 12:
            raise ValueError(
                "RESOURCE_EXHAUSTED: Error writing: [OS error 28: ENOSPC No space left on device]"
            )
        return save(manager, step, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", fill)
        with pytest.raises(
            OSError, match=r"no space left .* to write .*12.*intact.*resume=True.*Free some"
        ) as error:
            run(tmp_path / "run")
    assert error.value.errno == errno.ENOSPC
    result = run(tmp_path / "run", resume=True)
    assert result.stats.resumed_from == 8
    check_same(tmp_path / "run", result, unbroken)


FULL_DISK = """
import os, pathlib
from tests.training import disk_run
folder = pathlib.Path({mount!r}) / "run"
disk_run.run_until(folder, 9)
ballast = open(folder.parent / "ballast", "wb", buffering=0)
try:
    while True:
        ballast.write(bytes(512))
except OSError:
    pass
try:
    disk_run.run(folder, resume=True)
except OSError as error:
    print("refused:", error.errno, error)
ballast.close()
os.unlink(folder.parent / "ballast")
result = disk_run.run(folder, resume=True)
print("resumed from", result.stats.resumed_from)
plain = disk_run.run(None, save_every=None)
print("bits", disk_run.bits(result.last) == disk_run.bits(plain.last))
"""


def test_a_disk_that_is_really_full(tmp_path):
    """On a file system of one mebibyte, where the process may mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    script = FULL_DISK.format(mount=str(mount))
    command = f'mount -t tmpfs -o size=1m none "{mount}" && exec "{sys.executable}" -c "$0"'
    if (
        not shutil.which("unshare")
        or subprocess.run(
            ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=1m none "{mount}"'], capture_output=True
        ).returncode
    ):
        pytest.skip("this process may not mount a small file system")
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )
    assert "refused: 28 [Errno 28] There is no space left" in result.stdout, result.stdout + result.stderr
    assert "resumed from 8" in result.stdout, result.stdout + result.stderr
    assert "bits True" in result.stdout, result.stdout


# Refusals.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"configuration": {"rate": 1e-3, "width": 4}},
            r"configuration.rate: 0.01 -> 0.001\n.*width: \(absent\) -> 4",
        ),
        ({"configuration": None}, r"configuration.rate: 0.01 -> \(absent\)"),
        ({"steps": 30}, "steps: 20 -> 30"),
        ({"key": jax.random.key(6)}, r"key: \[0, 5\] -> \[0, 6\]"),
        ({"clip": 1.0}, "clip: None -> 1.0"),
        ({"patience": 3}, "patience: None -> 3"),
        (
            {"optimizer": optax.sgd(1e-2)},
            r"state\.optimizer\[0\]\.mu\.network\.layers\[0\]\.weight: float\S+ \S+ -> \(abs",
        ),
        (
            {"model": eqx.tree_at(lambda m: m.half, make_model(), jnp.zeros(3))},
            r"half: bfloat16\[2\] -> float\d+\[3\]",
        ),
    ],
)
def test_another_configuration_is_refused_with_the_fields_that_differ(tmp_path, unbroken, change, message):
    shutil.copytree(unbroken[0], tmp_path / "run")
    with pytest.raises(ValueError, match=r"(?s)another configuration \(field: then -> now\).*" + message):
        run(tmp_path / "run", resume=True, **change)
    check_same(tmp_path / "run", run(tmp_path / "run", resume=True), unbroken)


def test_a_run_is_not_overwritten_without_resume(tmp_path, unbroken):
    with pytest.raises(
        FileExistsError, match=r"holds a finished run; it is not overwritten. Pass resume=True"
    ):
        run(unbroken[0])
    run_until(tmp_path / "run", 3)
    with pytest.raises(FileExistsError, match="holds a run that has no checkpoint yet"):
        run(tmp_path / "run")
    run_until(tmp_path / "run", 6, resume=True)
    with pytest.raises(FileExistsError, match="holds a run with a checkpoint at step 4"):
        run(tmp_path / "run")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", "mine", "holds log.jsonl but no fit.json"),
        ("best.eqx", "mine", "holds best.eqx but no fit.json"),
        ("fit.json", "mine", "fit.json is not from a run"),
        ("fit.json", '{"format": "other"}', "fit.json is not from a run"),
    ],
)
def test_files_of_others_are_not_overwritten(tmp_path, name, content, message, resume):
    (tmp_path / name).write_text(content)
    with pytest.raises(FileExistsError, match=message):
        run(tmp_path, resume=resume)
    assert (tmp_path / name).read_text() == content
    assert os.listdir(tmp_path) == [name]


def test_other_files_in_the_folder_are_left_alone(tmp_path, unbroken):
    (tmp_path / "config.json").write_text("{}")
    check_same(tmp_path, run(tmp_path), unbroken)
    assert (tmp_path / "config.json").read_text() == "{}"


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=r"file is a file; a run needs a folder"):
        run(tmp_path / "file")
    with pytest.raises(OSError, match=r"could not be written .*Choose a folder that you may write to"):
        run(tmp_path / "file" / "run")


def test_a_run_of_a_newer_format_is_refused(tmp_path):
    (tmp_path / "fit.json").write_text('{"format": "sciml run", "version": 7, "settings": {}}')
    with pytest.raises(ValueError, match="has version 7; this sciml reads version 1"):
        run(tmp_path, resume=True)


def test_one_process_at_a_time(tmp_path):
    held = RunFolder(tmp_path / "run", {"steps": 1}, resume=False)
    with pytest.raises(RuntimeError, match=r"Another process is training in .*run. Wait for it"):
        RunFolder(tmp_path / "run", {"steps": 1}, resume=True)
    held.close()
    RunFolder(tmp_path / "run", {"steps": 1}, resume=True).close()


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"optimizer": optax.sgd, "rate": 1}, r"what JSON cannot: \{'optimizer': 'function'\}"),
        ([1, 2], "configuration is of type list; expected a dictionary or a dataclass"),
    ],
)
def test_configurations_that_cannot_be_kept(tmp_path, configuration, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", configuration=configuration)
    assert not (tmp_path / "run").exists()
