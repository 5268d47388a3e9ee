# SPDX-License-Identifier: Apache-2.0
"""Bad releases of a service, each bad in its own way, varied by dice. The good one is the first of its life."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SYSTEM = "etc/systemd/system"
APP, OTHER, BYSTANDER = "app.service", "other.service", "bystander.service"
SETTLE = 3.0
"""What a unit of another bundle is watched for: until then nothing is settled, whatever the release declares."""
_SERVER = """\
import http.server, sys, threading, time, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ill = {ill} is not None and time.monotonic() - began > {ill}
        self.send_response(500 if ill else 200)
        self.end_headers()
    def log_message(self, *words):
        pass
began = time.monotonic()
server = http.server.HTTPServer(("127.0.0.1", {port}), Answer)
server.serve_forever()
"""
_GOOD_PORT = 8080


@dataclass
class Release:
    """One version of the bundle `app`."""

    kind: str
    service: str = "ExecStart=/usr/bin/python3 /opt/app/server.py\n"
    port: int = _GOOD_PORT
    ill: float | None = None
    """So many seconds after its start the server answers 500."""
    probe: str = f'http = "http://127.0.0.1:{_GOOD_PORT}/"\n'
    within: float = 4.0
    late: bool = False
    """It is well at first: the command ends with 0, and then it goes back by itself."""
    refused: bool = False
    """It is refused before any unit is touched."""
    disturbs: bool = False
    """The other bundle's unit is taken down, and has to come back."""
    files: dict[str, str] = field(default_factory=dict)
    toml: str = ""

    def tree(self) -> Mapping[str, str]:
        unit = f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{self.service}[Install]\nWantedBy=multi-user.target\n"
        return {
            f"{SYSTEM}/{APP}": unit,
            "opt/app/server.py": _SERVER.format(port=self.port, ill=self.ill),
            "etc/app/app.conf": "state = good\n",
            **self.files,
        }

    def manifest(self) -> str:
        health = f'[[health]]\nunit = "{APP}"\nsettle = "1s"\nwithin = "{self.within:g}s"\n{self.probe}'
        return f'name = "app"\nversion = "{self.kind}"\n{health}{self.toml}'


def _lives(seconds: float, end: str) -> str:
    return f"ExecStart=/bin/sh -c 'sleep {seconds:.2f}; {end}'\n"


def _end(dice: random.Random) -> str:
    return dice.choice(["exit 1", "exit 7", "exit 203", "kill -SEGV $$$$", "kill -KILL $$$$", "kill -ABRT $$$$"])


def _late(dice: random.Random) -> float:
    return SETTLE + dice.uniform(1.0, 2.0)


def _dies_at_once(dice: random.Random) -> Release:
    return Release("dies at once", _lives(dice.choice([0, 0.1, 0.4]), _end(dice)), probe="")


def _dies_late(dice: random.Random) -> Release:
    return Release("dies late", _lives(_late(dice), _end(dice)), probe="", within=9, late=True)


def _flaps(dice: random.Random) -> Release:
    again = f"Restart={dice.choice(['always', 'on-failure'])}\nRestartSec={dice.choice([50, 200, 400])}ms\n"
    return Release("flaps", again + _lives(dice.uniform(0, 0.9), "exit 1"), probe="")


def _flaps_late(dice: random.Random) -> Release:
    again = f"Restart=always\nRestartSec={dice.choice([50, 200])}ms\n"
    return Release("flaps late", again + _lives(_late(dice), _end(dice)), probe="", within=9, late=True)


def _hangs(dice: random.Random) -> Release:
    kind = dice.choice(["Type=notify\nExecStart=/bin/sleep 1000\n", "Type=forking\nExecStart=/bin/sleep 1000\n"])
    slow = "ExecStartPre=/bin/sleep 1000\nExecStart=/bin/sleep 1000\n"
    within = dice.choice([1, 2])
    return Release("hangs at start", dice.choice([kind, slow]) + "TimeoutStopSec=2\n", probe="", within=within)


def _never_answers(kind: str, probe: str) -> Callable[[random.Random], Release]:
    def made(dice: random.Random) -> Release:
        return Release(
            f"never answers {kind}", port=dice.randrange(9000, 9999), probe=probe, within=dice.choice([1, 2])
        )

    return made


def _answers_badly(dice: random.Random) -> Release:
    return Release("answers 500", ill=dice.choice([-1.0, -2.0]), within=dice.choice([1, 2]))


def _stops_answering(dice: random.Random) -> Release:
    return Release("stops answering", ill=_late(dice), within=9, late=True)


def _breaks_another(dice: random.Random) -> Release:
    text = "[Service]\nExecStart=\n" + _lives(dice.uniform(0, 0.5), _end(dice))
    files = {f"{SYSTEM}/{OTHER}.d/50-app.conf": text}
    return Release("breaks another bundle's unit", files=files, disturbs=True)


def _kills_another(dice: random.Random) -> Release:
    how = dice.choice([f"systemctl stop {OTHER}", f"systemctl kill -s KILL {OTHER}"])
    service = f"ExecStartPre=/bin/{how}\n{Release('').service}"
    return Release("stops another bundle's unit", service, disturbs=True)


def _oneshot(dice: random.Random) -> Release:
    run = f"Type=oneshot\nExecStart=/bin/sh -c 'sleep {dice.choice([0, 0.3])}; {_end(dice)}'\n"
    unit = f"[Service]\n{run}[Install]\nWantedBy=multi-user.target\n"
    return Release("a oneshot fails", files={f"{SYSTEM}/app-setup.service": unit})


def _validator(dice: random.Random) -> Release:
    toml = '[[files]]\npath = "etc/app/app.conf"\nvalidate = ["/bin/grep", "-q", "good", "{path}"]\n'
    files = {"etc/app/app.conf": f"state = {dice.choice(['bad', 'worse', ''])}\n"}
    return Release("a validator refuses it", files=files, toml=toml, refused=True)


def _unit_file(dice: random.Random) -> Release:
    service = dice.choice(["ExecStart=relative/path\n", "Type=simple\n", "Type=oneshot\nRestart=always\n"])
    return Release("PID 1 refuses its unit", service, probe="", refused=True)


def _no_program(dice: random.Random) -> Release:
    service = f"ExecStart=/opt/app/{dice.choice(['not-there', 'server.py', 'data'])}\n"
    return Release("its program cannot be run", service, probe="")


def _step(dice: random.Random) -> Release:
    toml = '[[step]]\nname = "migrate"\nphase = "after"\nreason = "data"\nwithin = "2s"\n'
    run = dice.choice(['["/bin/false"]', '["/bin/sleep", "60"]', '["/opt/app/not-there"]'])
    return Release("its last step fails", toml=f"{toml}command = {run}\n")


KINDS: tuple[Callable[[random.Random], Release], ...] = (
    *(_dies_at_once, _dies_late, _flaps, _flaps_late, _hangs),
    _never_answers("http", Release("").probe),
    _never_answers("tcp", f'tcp = "127.0.0.1:{_GOOD_PORT}"\n'),
    _never_answers("a command", 'command = ["/bin/sh", "-c", "exit 3"]\n'),
    *(
        _answers_badly,
        _stops_answering,
        _breaks_another,
        _kills_another,
        _oneshot,
        _validator,
        _unit_file,
        _no_program,
        _step,
    ),
)


def good() -> Release:
    return Release("good", files=_files(random.Random(0), "good"))


def bad(number: int) -> Release:
    """The bad release of that number: its kind goes round, all else is by dice."""
    dice = random.Random(number)
    release = KINDS[number % len(KINDS)](dice)
    release.files = _files(dice, f"bad {number}") | release.files
    return release


def _files(dice: random.Random, mark: str) -> dict[str, str]:
    """What else changes with a version: some files are others, some are new, some are gone."""
    files = {f"etc/app/conf.d/{n}.conf": f"{mark}\n" for n in dice.sample(range(8), dice.randrange(1, 6))}
    files |= {f"opt/app/data/{mark.replace(' ', '-')}/{n}": mark for n in range(dice.randrange(4))}
    if dice.random() < 0.4:
        unit = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
        files[f"{SYSTEM}/app-extra-{dice.randrange(3)}.service"] = unit
    return files
