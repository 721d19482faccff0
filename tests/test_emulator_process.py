"""The emulator as a process: how it starts, is found, stops, and what it leaves behind, which is nothing."""

import json
import os
import signal
import socket
import threading

import psutil
import pytest

from infra.rehearsal.emulator import process
from infra.rehearsal.emulator.process import EmulatorError
from tests.emulated import User, until

SPAWN = """
import os, subprocess, sys
def handler(event, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return [os.getpid(), child.pid]
"""


@pytest.fixture
def work(tmp_path):
    yield tmp_path
    process.stop(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An emulator that tests only look at."""
    folder = tmp_path_factory.mktemp("running")
    yield folder, process.start(folder)
    process.stop(folder)


@pytest.fixture
def taken():
    """A port that something else listens on."""
    with socket.socket() as other:
        other.bind((process.HOST, 0))
        other.listen()
        yield other.getsockname()[1]


def with_children(work):
    """A running emulator with a function's process, and that one's own."""
    emulator = process.start(work)
    user = User(emulator, work)
    pids, _ = user.invoke(user.function(SPAWN))
    assert all(psutil.pid_exists(pid) for pid in pids)
    return emulator, pids


def gone(pids):
    def check():
        return all(not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in pids)

    return check


def test_nothing_runs_in_a_new_folder(tmp_path):
    assert process.running(tmp_path) is None
    assert process.stop(tmp_path) is False


def test_it_is_started_once_and_found_again(running):
    work, emulator = running
    assert process.start(work) == emulator == process.running(work)
    assert process.start(work, emulator.port) == emulator


def test_it_listens_only_to_this_machine(running):
    _, emulator = running
    listening = [c for c in psutil.Process(emulator.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", emulator.port)]


def test_asking_for_another_port_than_it_has_is_refused(running):
    work, emulator = running
    with pytest.raises(EmulatorError, match=f"already runs on port {emulator.port}"):
        process.start(work, emulator.port + 1)


def test_two_who_start_it_at_once_get_the_same_one(work):
    found = []
    threads = [threading.Thread(target=lambda: found.append(process.start(work))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] == found[1]


def test_stopping_it_leaves_nothing_running_and_starting_it_again_takes_the_same_port(work):
    first, pids = with_children(work)
    assert process.stop(work) is True
    until(gone([first.pid, *pids]), "everything ends")
    assert process.running(work) is None
    second = process.start(work)
    assert second.port == first.port
    assert second.instance != first.instance


def test_killing_it_leaves_nothing_running(work):
    emulator, pids = with_children(work)
    os.kill(emulator.pid, signal.SIGKILL)
    until(gone([emulator.pid, *pids]), "everything ends")
    assert process.running(work) is None


def test_a_port_that_is_asked_for_and_taken_is_an_error(work, taken):
    with pytest.raises(EmulatorError, match=f"port {taken} on 127.0.0.1 is in use: name another one"):
        process.start(work, taken)


def test_no_port_at_all_is_an_error(work):
    with pytest.raises(EmulatorError, match="70000 is no port"):
        process.start(work, 70000)


def test_a_remembered_port_that_is_taken_is_replaced_and_said(work, taken):
    known = {"port": taken, "pid": 1, "instance": "earlier", "started": 0}
    process.record_path(work).write_text(json.dumps(known))
    emulator = process.start(work)
    assert emulator.port != taken
    assert emulator.notice == (
        f"port {taken}, which the emulator had before, is in use; it now listens on {emulator.port}"
    )


def test_one_that_dies_when_it_is_started_is_told_with_what_it_said(work):
    (work / "calls.jsonl").mkdir()
    with pytest.raises(EmulatorError, match=r"ended with exit code 1 when it was started:[\s\S]*IsADirectoryError"):
        process.start(work)


def test_one_that_does_not_answer_is_told_and_can_be_stopped(work, monkeypatch):
    emulator = process.start(work)
    os.kill(emulator.pid, signal.SIGSTOP)
    monkeypatch.setattr(process, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(process, "STOP_SECONDS", 0.5)
    assert process.running(work) is None
    with pytest.raises(EmulatorError, match=f"process {emulator.pid}.* runs, but does not answer"):
        process.start(work)
    assert process.stop(work) is True
    until(gone([emulator.pid]), "it ends")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}', "null"])
def test_a_record_that_is_broken_is_no_record(tmp_path, text):
    process.record_path(tmp_path).write_text(text)
    assert process.running(tmp_path) is None


def test_a_record_whose_number_another_process_has_now_stops_nobody(tmp_path):
    known = {"port": 1, "pid": os.getpid(), "instance": "x", "started": 2**40}
    process.record_path(tmp_path).write_text(json.dumps(known))
    assert process.stop(tmp_path) is False


def test_the_settings_of_the_machines_user_do_not_reach_it(work, monkeypatch):
    """Each of these alone would keep boto3 from making a client, or moto from knowing its account."""
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    monkeypatch.setenv("MOTO_ACCOUNT_ID", "999999999999")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    emulator = process.start(work)
    monkeypatch.undo()
    user = User(emulator, work)
    queue, arn = user.queue()
    schedule = user.schedule(arn, Input='"arrived"')
    assert user.ask("/_slipway/fire", {"schedule": schedule})[0] == 200
    assert user.body(queue) == "arrived"
    assert user.sts.get_caller_identity()["Account"] == "123456789012"
