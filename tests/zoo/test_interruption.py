"""Real processes, really stopped: what `python -m zoo train --resume` makes of it."""

import contextlib
import csv
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from workers import run_workers

import zoo
from zoo.__main__ import main
from zoo.commands import launcher

#: A training of 4 epochs of 46 steps, a moment each.
TRAIN = [
    *(sys.executable, "-m", "zoo", "train", "gan", "--batch-size", "32"),
    *("--generator-units", "16", "--discriminator-units", "8", "--epochs", "4"),
]
EPOCHS, STEPS = 4, 46


def train(out, *arguments, **kwargs):
    return subprocess.run(
        [*TRAIN, "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


def train_here(out, *arguments):
    """Runs the command in this process, which is not the one that was stopped."""
    asked = [*TRAIN[3:], "--out", str(out), *arguments]
    return CliRunner().invoke(main, asked, catch_exceptions=False)


def endless(out, *arguments):
    """The command of a training that would go on for long."""
    return [*TRAIN, "--out", str(out), "--epochs", "1000", *arguments]


@pytest.fixture
def start():
    """Starts a command; what is left of it and of its children ends with the test."""
    started = []

    def start(command):
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def wait_for_step(out, step, process):
    """Waits for a checkpoint of that step or later."""
    checkpoints = pathlib.Path(out) / "checkpoints"
    for _ in range(1200):
        names = [path.name for path in checkpoints.glob("[0-9]*")]
        if any(int(name) >= step for name in names):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint of step {step} in two minutes")


def weights(out):
    return [
        w for n in zoo.from_preset(out).networks().values() for w in n.get_weights()
    ]


def last_checkpoint(out):
    return zoo.callbacks.BackupAndResume(out / "checkpoints").last()


def state_of(out):
    """The arrays of the last checkpoint: all weights, and those of the optimizers."""
    arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(last_checkpoint(out) / "state.weights.h5") as file:
        file.visititems(keep)
    return arrays


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = train(out)
    assert done.returncode == 0, done.stderr
    return out


def assert_ends_as(uninterrupted, out):
    for ours, theirs in zip(weights(out), weights(uninterrupted), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with open(out / "log.csv") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [*range(EPOCHS)]


def test_a_run_folder_holds_what_it_promises(uninterrupted):
    assert json.loads((uninterrupted / "run.json").read_text())["variant"] == "gan"
    for name in ("log.csv", "curves.png", "samples/samples.gif", "model/config.json"):
        assert (uninterrupted / name).stat().st_size > 0, name
    assert len(list((uninterrupted / "samples").glob("*.png"))) == EPOCHS + 1
    assert list(uninterrupted.glob("events/**/*tfevents*"))
    assert not list(uninterrupted.glob("**/.partial*"))


def test_resuming_a_finished_run_says_so(uninterrupted, tmp_path):
    out = shutil.copytree(uninterrupted, tmp_path / "run")
    done = train_here(out, "--resume")
    assert done.exit_code == 0, done.output
    assert f"{EPOCHS} epochs of {EPOCHS} are done" in done.stdout
    assert_ends_as(uninterrupted, out)


def test_sigterm_saves_in_mid_epoch_and_resuming_gives_the_same_bits(
    uninterrupted, start, tmp_path
):
    out = tmp_path / "run"
    process = start(endless(out))
    wait_for_step(out, STEPS, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "go on with --resume" in errors
    assert "Traceback" not in errors

    position = zoo.callbacks.BackupAndResume(out / "checkpoints").position()
    assert position is not None
    if position[0] >= EPOCHS:
        pytest.skip("this machine trained all epochs before the signal arrived")
    done = train_here(out, "--resume")
    assert done.exit_code == 0, done.output
    assert_ends_as(uninterrupted, out)


def test_an_interrupted_reproduction_says_to_run_it_again(start, tmp_path):
    command = [sys.executable, "-m", "zoo", "reproduce", "gaussian1d"]
    command += ["--out", str(tmp_path), "--results", str(tmp_path / "kept")]
    process = start(command)
    wait_for_step(tmp_path / "gaussian1d-0", 0, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert "Everything is saved: run the same command again." in errors
    assert "--resume" not in errors


def test_sigkill_loses_at_most_the_epoch(uninterrupted, start, tmp_path):
    out = tmp_path / "run"
    process = start(endless(out))
    wait_for_step(out, STEPS, process)
    process.kill()
    process.wait()
    last = last_checkpoint(out)
    assert int(last.name) % STEPS == 0
    if int(last.name) >= EPOCHS * STEPS:
        pytest.skip("this machine trained all epochs before the kill arrived")
    done = train_here(out, "--resume")
    assert done.exit_code == 0, done.output
    assert_ends_as(uninterrupted, out)


def test_a_damaged_checkpoint_loses_the_epoch_after_the_one_before(
    uninterrupted, tmp_path
):
    out = shutil.copytree(uninterrupted, tmp_path / "run")
    last = out / "checkpoints" / f"{EPOCHS * STEPS:08d}"
    os.truncate(last / "state.weights.h5", 1000)
    # Killed while it wrote the next.
    shutil.copytree(last, out / "checkpoints" / ".partial-x")
    (out / "seconds.json").write_text("1000")
    with pytest.warns(UserWarning, match=f"Damaged checkpoints: {last}") as caught:
        done = train_here(out, "--resume")
    assert done.exit_code == 0, done.output
    assert sum("Damaged" in str(warning.message) for warning in caught) == 1
    assert not (out / "checkpoints" / ".partial-x").exists()
    assert_ends_as(uninterrupted, out)
    # What was lost has taken its time, too.
    assert zoo.presets.metadata_of(out)["training_seconds"] >= 1000


def test_resuming_with_fewer_epochs_than_are_done_is_refused(uninterrupted):
    settings = (uninterrupted / "run.json").read_text()
    done = train_here(uninterrupted, "--resume", "--epochs", "3")
    assert done.exit_code == 1
    assert "has done 4 epochs, and 3 are asked for" in done.stderr
    assert (uninterrupted / "run.json").read_text() == settings


def test_resuming_with_other_settings_is_refused(uninterrupted):
    done = train_here(uninterrupted, "--resume", "--batch-size", "64")
    assert done.exit_code == 1
    assert "batch_size: 32 there, 64 asked for" in done.stderr


def test_another_run_s_folder_is_refused(uninterrupted, tmp_path):
    done = train_here(uninterrupted)
    assert done.exit_code == 1
    assert "holds a run already" in done.stderr

    (tmp_path / "letter.txt").write_text("not yours")
    done = train_here(tmp_path)
    assert done.exit_code == 1
    assert "is no run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_that_cannot_be_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    done = train_here(tmp_path / "file" / "run")
    assert done.exit_code == 1
    assert "Epoch 1" not in done.stdout


@pytest.mark.parametrize("most", [10, 20_000])
def test_a_full_disk_is_one_error_and_the_last_checkpoint_stays(
    uninterrupted, tmp_path, most
):
    """A limit on the size of files stands for the disk."""
    out = shutil.copytree(uninterrupted, tmp_path / "run")
    before = last_checkpoint(out)

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    one_more = ["--resume", "--epochs", str(EPOCHS + 1)]
    done = train(out, *one_more, preexec_fn=limit)
    assert done.returncode == 1, done.stdout
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert last_checkpoint(out) == before

    done = train_here(out, *one_more)
    assert done.exit_code == 0, done.output


def test_two_workers_stopped_end_as_uninterrupted(start, tmp_path):
    out = tmp_path / "stopped"
    # A signal that comes to one worker alone, or to the others later, stops all.
    process = start(endless(out, "--workers", "2"))
    wait_for_step(out, 1, process)
    os.kill(children_of(process.pid)[1], signal.SIGTERM)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("Stopped by SIGTERM") == 2

    # Whole epochs, and one more than it was stopped in.
    epochs = int(last_checkpoint(out).name) // STEPS + 2
    whole = tmp_path / "whole"
    process = start(endless(whole, "--workers", "2"))
    wait_for_step(whole, epochs * STEPS, process)
    workers = children_of(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "with --resume to go on from the last checkpoint" in errors
    assert not children_of(process.pid)

    epochs = int(last_checkpoint(whole).name) // STEPS
    done = train(out, "--workers", "2", "--epochs", str(epochs), "--resume")
    assert done.returncode == 0, done.stderr
    ours, theirs = map(state_of, (out, whole))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-5, err_msg=name)


def test_a_worker_that_was_killed_is_named_before_those_it_took_along():
    processes = [
        subprocess.Popen([sys.executable, "-c", code])
        for code in ("raise SystemExit(1)", "import os; os.kill(os.getpid(), 9)")
    ]
    for process in processes:
        process.wait()
    assert launcher._first_to_fail(processes) == 1


#: A launcher that is stopped while it starts its second worker.
STOPPED_EARLY = """
import os, signal, subprocess
from zoo.commands import launcher

start, started = subprocess.Popen, []

def start_and_stop(*arguments, **kwargs):
    started.append(start(*arguments, **kwargs))
    if len(started) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return started[-1]

subprocess.Popen = start_and_stop
launcher.launch(3)
"""


def test_a_launcher_that_is_stopped_early_leaves_no_worker():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_EARLY, *TRAIN[3:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,  # Workers that are left hold the pipes.
    )
    assert "ended with SIGTERM, so all were stopped" in done.stderr
    lines = [s for s in done.stderr.splitlines() if s.startswith("worker ")]
    assert len(lines) == 3
    for line in lines:
        assert not pathlib.Path("/proc", line.split()[-1]).exists()


def test_workers_that_refuse_a_command_are_not_to_be_resumed(uninterrupted):
    done = train(uninterrupted, "--workers", "2")
    assert done.returncode == 1
    assert "holds a run already" in done.stderr
    assert "failed with the error above" in done.stderr
    assert "last checkpoint" not in done.stderr


#: A worker that keeps its checkpoints to itself.
APART = """
import json, os, sys
import zoo

strategy = zoo.strategy("multi_worker_mirrored")
task = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
backup = zoo.callbacks.BackupAndResume(f"{sys.argv[1]}/{task}")
with strategy.scope():
    gan = zoo.GAN((8, 8, 1), generator_units=(4,), discriminator_units=(4,), seed=0)
    gan.compile()
data = zoo.load_data("digits", image_size=8, batch_size=500)
gan.fit(data, epochs=1, callbacks=[backup])
try:
    gan.fit(data, epochs=2, callbacks=[backup])
except RuntimeError as error:
    print(error)
"""


def test_workers_that_do_not_see_the_same_checkpoints_are_stopped(tmp_path):
    outputs = run_workers("-c", APART, str(tmp_path), timeout=180)
    for epoch, output in zip((2, 1), outputs, strict=True):
        said = output.splitlines()[-1]
        assert f"this one from epoch {epoch} after 0 batches" in said
        assert "must be one folder that all share" in said


def children_of(pid):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # It has ended since.
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)
