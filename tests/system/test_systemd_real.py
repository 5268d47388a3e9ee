# SPDX-License-Identifier: Apache-2.0
"""Hand-over to a real PID 1, and rules checked against what a real systemd does."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ashore.acts.transaction.health import watch
from ashore.mechanisms.pid1 import systemd
from ashore.nouns.bundle import Health
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.units import enablement
from ashore.rules.units.health import Watched
from tests.system import lab
from tests.system.snapshot import differences

pytestmark = pytest.mark.real

SYSTEM = "etc/systemd/system"
PATHS = "import sys; sys.path[:0] = ['/run/lab/src', '/run/lab/deps']\n"
# What stands for ashore here: the service tells what it got, then does as its request says.
SERVICE = (
    PATHS
    + """
import json, os, time
from ashore.mechanisms import output
from ashore.mechanisms.pid1 import handover
output.survive_lost_output()
request = json.loads(handover.take_request(sys.argv[1]))
print("service", handover.under_pid1(), os.environ.get("TOKEN"), os.getcwd(),
      request.get("read") and sys.stdin.readline().strip(), flush=True)
print("talk", file=sys.stderr)
open("/run/started", "w").write(str(os.getpid()))
for _ in range(request.get("lines", 0)):
    print("x" * 1000)
while request.get("wait") and not os.path.exists("/run/go"):
    print("still here", flush=True)
    time.sleep(0.02)
open("/run/ended", "w").write(",".join(os.listdir("/run/ashore")))
sys.exit(request.get("code", 0))
"""
)
CLIENT = PATHS + """
import json
from ashore.errors import AshoreError
from ashore.mechanisms.pid1 import handover
try:
    sys.exit(handover.hand_over(sys.argv[1].encode(), root="/", command=sys.argv[2:], identifier="test",
                                environment={"TOKEN": 'a "b" $c \\\\ `d`'}))
except AshoreError as error:
    print(type(error).__name__, error, error.remedy)
    sys.exit(error.code)
"""  # fmt: skip


@pytest.fixture
def host(shared_host: lab.Host) -> Iterator[lab.Host]:
    shared_host.write("root/service.py", SERVICE)
    yield shared_host
    shared_host.run(["systemctl", "stop", "ashore-test.service"], check=False)
    shared_host.run(["sh", "-c", "rm -f /run/started /run/ended /run/go /run/recovered /run/ashore/*"])


def client(host: lab.Host, request: dict[str, object], *command: str) -> list[str]:
    service = command or ("/usr/bin/python3", "/root/service.py")
    return host.argv(["python3", "-c", CLIENT, json.dumps(request), *service])


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, f"did not come: {what}"
        time.sleep(0.02)


def exists(host: lab.Host, path: str) -> bool:
    return os.path.exists(host.live_root + path)


def test_the_service_has_our_input_output_environment_and_folder_and_we_have_its_code(host: lab.Host) -> None:
    done = subprocess.run(client(host, {"code": 7, "read": True}), input="hello\n", capture_output=True, text=True)
    assert done.stdout == 'service True a "b" $c \\ `d` / hello\n'
    assert done.stderr == "talk\n"
    assert done.returncode == 7


def test_the_request_is_for_nobody_elses_eyes_and_gone_when_it_was_taken(host: lab.Host) -> None:
    program = "import os,sys; print(oct(os.stat(sys.argv[1]).st_mode), oct(os.stat('/run/ashore').st_mode))"
    done = subprocess.run(client(host, {}, "/usr/bin/python3", "-c", program), capture_output=True, text=True)
    assert done.stdout.startswith("0o100600 0o40700\n")
    subprocess.run(client(host, {}), input="", capture_output=True, text=True, check=True)
    assert Path(host.live_root + "/run/ended").read_text() == ""


def test_whoever_was_killed_before_its_request_was_taken_stands_in_nobodys_way(host: lab.Host) -> None:
    dies = CLIENT.replace("try:", "handover.process.run_attached = lambda *_, **__: os.kill(os.getpid(), 9)\ntry:", 1)
    for _ in range(2):
        killed = host.argv(["python3", "-c", "import os\n" + dies, "{}", "/bin/true"])
        assert subprocess.run(killed, capture_output=True).returncode in (-9, 137)
    assert len(os.listdir(host.live_root + "/run/ashore")) == 4
    host.run(["sh", "-c", "touch -d '1 hour ago' /run/ashore/*"])
    done = subprocess.run(client(host, {"code": 3}), input="", capture_output=True, text=True)
    assert done.returncode == 3, done.stdout
    assert Path(host.live_root + "/run/ended").read_text() == "", "their secrets are gone"


def test_killing_the_command_line_half_way_changes_nothing_for_the_service(host: lab.Host) -> None:
    follower = subprocess.Popen(
        client(host, {"wait": True}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    wait_for("the start", lambda: exists(host, "/run/started"))
    os.killpg(follower.pid, signal.SIGKILL)
    follower.wait()
    for pipe in (follower.stdin, follower.stdout, follower.stderr):
        assert pipe
        pipe.close()
    assert host.show("ashore-test.service", "ActiveState") == "active"
    Path(host.live_root + "/run/go").touch()
    wait_for("the end", lambda: exists(host, "/run/ended"))
    wait_for("collection", lambda: host.show("ashore-test.service", "LoadState") == "not-found")
    assert "Traceback" not in host.run(["journalctl", "--no-pager", "-u", "ashore-test.service"]).stdout


def test_closing_the_terminal_half_way_changes_nothing_for_the_service(host: lab.Host) -> None:
    ours, theirs = os.openpty()
    # Whoever runs these tests under nohup has us ignore the signal, and what we start.
    heeding = ["env", "--default-signal=HUP", *client(host, {"wait": True})]
    follower = subprocess.Popen(heeding, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    wait_for("the start", lambda: exists(host, "/run/started"))
    assert host.show("ashore-test.service", "ActiveState") == "active"
    os.close(ours)
    os.killpg(follower.pid, signal.SIGHUP)
    follower.wait(timeout=60)
    Path(host.live_root + "/run/go").touch()
    wait_for("the end", lambda: exists(host, "/run/ended"))


def test_a_reader_that_does_not_read_does_not_hold_up_the_service(host: lab.Host) -> None:
    follower = subprocess.Popen(
        client(host, {"lines": 2000}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for("the end", lambda: exists(host, "/run/ended"))
    said, _ = follower.communicate()  # 2 MB, 30 times a pipe's size, and nothing of it is lost
    assert said.count(b"x") == 2_000_000
    assert follower.returncode == 0


def test_a_service_that_cannot_start_leaves_nothing_and_says_so(host: lab.Host) -> None:
    done = subprocess.run(client(host, {}, "/no/such/program"), capture_output=True, text=True)
    assert done.returncode == 7
    assert "UnchangedError PID 1 did not start the change" in done.stdout
    assert os.listdir(host.live_root + "/run/ashore") == []


@pytest.mark.parametrize(("code", "recovers"), [(0, False), (7, True), ("KILL", True)])
def test_an_end_other_than_success_sets_off_recovery(host: lab.Host, code: int | str, recovers: bool) -> None:
    recovery = host.write(
        f"{SYSTEM}/ashore-recover.service", "[Service]\nType=oneshot\nExecStart=/bin/touch /run/recovered\n"
    )
    host.run(["systemctl", "daemon-reload"])
    argv = ["/bin/sh", "-c", "kill -KILL $$" if code == "KILL" else f"exit {code}", "sh"]
    subprocess.run(client(host, {}, *argv), capture_output=True, stdin=subprocess.DEVNULL)
    if recovers:
        wait_for("recovery", lambda: exists(host, "/run/recovered"))
    else:
        host.run(["systemctl", "start", "--wait", "systemd-tmpfiles-clean.service"])  # later than a queued job
        assert not exists(host, "/run/recovered")
    recovery.unlink()
    host.run(["systemctl", "daemon-reload"])


def test_dollars_in_the_command_reach_the_program(host: lab.Host) -> None:
    done = subprocess.run(
        client(host, {}, "/usr/bin/printf", "%s ", "$HOME", "${X}", "$$"), capture_output=True, text=True
    )
    assert done.stdout.startswith("$HOME ${X} $$ /run/ashore/")


UNITS_TO_ENABLE = {
    "a.service": "WantedBy=multi-user.target network.target\nRequiredBy=b.service",
    "b.service": "Alias=b-alias.service b.service\nWantedBy=multi-user.target\nAlso=c.socket",
    "c.socket": "WantedBy=sockets.target",
    "d@.service": "WantedBy=multi-user.target\nDefaultInstance=one",
    "e@.service": "WantedBy=w@%i.target %p.target\nAlias=f@.service",
    "g@.service": "WantedBy=h@.target",
    "i.service": "WantedBy=a.target\nWantedBy=\nWantedBy=b.target",
    "j.service": "Alias=multi-user.target.wants/j.service",
}  # fmt: skip


@pytest.mark.parametrize(
    "enabled", ["a.service", "b.service", "d@.service", "d@two.service", "e@x.service", "g@.service", "i.service",
                "j.service"],
)  # fmt: skip
def test_our_links_are_those_that_systemctl_enable_makes(host: lab.Host, enabled: str) -> None:
    shipped = {}
    for name, install in UNITS_TO_ENABLE.items():
        text = f"[Unit]\nDescription=x\n[{'Socket' if name.endswith('.socket') else 'Service'}]\nExecStart=/bin/true\n"
        text += f"ListenStream=/run/c\n[Install]\n{install}\n"
        host.write(f"{SYSTEM}/{name}", text)
        shipped[name] = enablement.Shipped(path=f"{SYSTEM}/{name}", text=text)
    before = host.snapshot(SYSTEM)
    host.run(["systemctl", "enable", enabled])
    made = {d[2:] for d in differences(before, host.snapshot(SYSTEM)) if "->" not in d and not d.endswith(".wants")}
    links = enablement.closure((enabled,), shipped)
    ours = {link.path: link.target for found in links.values() for link in found}
    real = {path: os.readlink(host.path / path) for path in made if (host.path / path).is_symlink()}
    host.run(["systemctl", "disable", enabled])
    for name in UNITS_TO_ENABLE:
        (host.path / SYSTEM / name).unlink()
    assert ours == real


HEALTH = {
    "stays.service": ("ExecStart=/bin/sleep 1000", ""),
    "oneshot.service": ("Type=oneshot\nExecStart=/bin/true", ""),
    "skipped.service": (
        "ExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n[Unit]\nConditionPathExists=/nowhere", ""
    ),
    "dies.service": ("ExecStart=/bin/false", "failed (exit-code)"),
    "ends.service": ("ExecStart=/bin/true", "ended instead of staying up"),
    "later.service": ("ExecStart=/bin/sh -c 'sleep 0.7; exit 1'", "failed (exit-code)"),
    "flaps.service": ("ExecStart=/bin/sh -c 'sleep 0.2; exit 1'\nRestart=always\nRestartSec=1ms", "again and again"),
    "slow-flaps.service": ("ExecStart=/bin/false\nRestart=always\nRestartSec=100", "again and again"),
}  # fmt: skip


def _watched(unit: str) -> Watched:
    return Watched(health=Health(unit=unit), settle=1.0, within=10.0, started=True)


def test_health_tells_what_stays_up_from_what_only_started(host: lab.Host) -> None:
    for name, (text, _) in HEALTH.items():
        host.write(f"{SYSTEM}/{name}", f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{text}\n")
    host.run(["systemctl", "daemon-reload"])
    # PID 1 forgets at once that a start was skipped, unless another unit refers to the unit.
    host.run(["systemctl", "enable", "skipped.service"])
    pid1 = systemd.connect(host.live_root)
    pid1.run([UnitAction(verb=UnitVerb.START, unit=unit, reason="") for unit in HEALTH], 10)
    found = {unit: watch(pid1, [_watched(unit)]) for unit in reversed(HEALTH)}
    pid1.run([UnitAction(verb=UnitVerb.STOP, unit=unit, reason="") for unit in HEALTH], 10)
    pid1.reset_failed(HEALTH)
    host.run(["systemctl", "disable", "skipped.service"])
    for unit, (_, reason) in HEALTH.items():
        (host.path / SYSTEM / unit).unlink()
        if not reason:
            assert found[unit] == (), unit
        else:
            (issue,) = found[unit]
            assert reason in issue.message, unit
            assert issue.remedy == f"see why: journalctl -u {unit}"


def test_a_host_that_reboots_keeps_its_tree_and_one_that_is_killed_too(fresh_host: lab.Host) -> None:
    fresh_host.write("etc/kept", "x")
    fresh_host.run(["sync"])
    before = fresh_host.snapshot()
    old = fresh_host.run(["cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat"]).stdout
    fresh_host.reboot()
    assert fresh_host.run(["cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat"]).stdout != old
    fresh_host.kill()
    fresh_host.boot()
    assert differences(before, fresh_host.snapshot()) == []


def test_the_live_root_is_that_of_pid_1_and_no_other(host: lab.Host) -> None:
    program = PATHS + (
        "import os\nfrom ashore.mechanisms.pid1.systemd import is_live\n"
        "os.makedirs('/run/other/run/systemd/system', exist_ok=True)\n"
        "print([is_live(root) for root in ('/', '/proc/1/root', '/run/other', '/usr', '/missing')])"
    )
    assert host.run(["python3", "-c", program]).stdout == "[True, True, False, False, False]\n"
