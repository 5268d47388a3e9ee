# SPDX-License-Identifier: Apache-2.0
"""A host that installs from a registry that misbehaves, a stranger who listens, and what is counted afterwards."""

import base64
import contextlib
import io
import random
import socket
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ashore.acts.change import install as stories
from ashore.cli import output
from ashore.errors import AshoreError
from ashore.mechanisms.registry import open_repository
from ashore.nouns.limits import Limits
from tests.fakes.images import MemoryStore, Silent, layer, member, put_image
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import auth_file, settings_in
from tests.flow.machine import Machine
from tests.hostile.images.host import look

USER, PASSWORD, IDENTITY = "ann-of-home", "s3cret-of-ann", "identity-of-ann"
REPOSITORY, TAG = "team/app", "1"
LIMITS = Limits(connect_seconds=1.0, idle_seconds=0.25, retries=2)
PATIENCE = 30.0
"""Seconds after which a behaviour counts as one that keeps ashore for ever."""
CONTENT = random.Random(1).randbytes(200_000)


class World:
    """`home` is the registry that is asked, with credentials stored for it; `stranger` is any other host."""

    def __init__(self, folder: Path, *, auth: str, certificate: tuple[str, str] | None = None) -> None:
        self.home = FakeRegistry(auth=auth, user=USER, password=PASSWORD, certificate=certificate)
        self.stranger = FakeRegistry(user="stranger", password="strangers-own")
        self.machine = Machine(folder)
        self.folder = folder
        self.image = publish(self.home)
        publish(self.stranger)
        self.address = f"{self.home.host}/{REPOSITORY}:{TAG}"
        self.trusted = certificate

    def close(self) -> None:
        self.home.close()
        self.stranger.close()

    def install(self) -> "Ended":
        """In a thread, so that one that never comes back is seen; it is left behind then."""
        ended: list[Ended] = []
        thread = threading.Thread(target=lambda: ended.append(self._install()), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        return ended[0] if ended else Ended(-1, "it did not come back", "", 0)

    def _install(self) -> "Ended":
        environ = {"SSL_CERT_FILE": self.trusted[0]} if self.trusted else {}
        environ["REGISTRY_AUTH_FILE"] = auth_file(str(self.folder), **{self.home.host: (USER, PASSWORD)})
        settings = settings_in(str(self.folder), environ=environ, limits=LIMITS)
        progress = Silent()
        tools = replace(
            self.machine.tools(),
            open_image=lambda name: open_repository(name, settings),
            progress=progress,
            limits=LIMITS,
        )
        code, said, traced = 0, "", ""
        try:
            stories.install(tools, [self.machine.ask(self.address)])
        except AshoreError as error:
            with contextlib.redirect_stderr(io.StringIO()) as talk:
                output.error(error)
            code, said, traced = int(error.code), talk.getvalue(), traceback.format_exc()
        except Exception as error:
            code, said = 1, f"a traceback: {error!r}"
        return Ended(code, said + "\n".join(progress.said), traced, self.spilled())

    def spilled(self) -> int:
        """Bytes of any credential of home's that the stranger saw."""
        heard = "\n".join(seen.text + seen.body.decode(errors="replace") for seen in self.stranger.seen)
        return sum(len(secret) * heard.count(secret) for secret in self.secrets())

    def secrets(self) -> list[str]:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        # Of tokens none but those that home gave: "token-0" would be a word of any stranger's.
        return [PASSWORD, basic, IDENTITY, *(f"Bearer {token}" for token in self.home.tokens)]


class Ended(NamedTuple):
    """Exit code, all that was said, what --debug would add, bytes of credentials that a stranger saw."""

    code: int
    said: str
    traced: str
    spilled: int


Behave = Callable[[World], object]


class Behaviour(NamedTuple):
    """`does` sets the registry up; `codes` are the exit codes that are right, 0 if the image has come."""

    does: Behave
    codes: tuple[int, ...]
    auth: str = "token"
    tls: bool = False


def judge(behaviour: Behaviour, world: World) -> list[str]:
    """Install; what is wrong with how it ended."""
    before = look(world.machine.root)
    behaviour.does(world)
    ended = world.install()
    problems = [f"exit {ended.code}, not {behaviour.codes}: {ended.said}"] if ended.code not in behaviour.codes else []
    problems += [f"{ended.spilled} bytes of credentials spilled"] if ended.spilled else []
    problems += [f"it says {s!r}" for s in world.secrets() if s in ended.said + ended.traced]
    problems += ["it says what a terminal obeys"] if any(ord(c) < 32 and c != "\n" for c in ended.said) else []
    here = look(world.machine.root)
    if ended.code == 0:
        came = here.keys() - before.keys()
        problems += [] if came == {"srv", "srv/app"} else [f"came: {came}"]
        problems += [] if (world.machine.root / "srv/app").read_bytes() == CONTENT else ["not what was published"]
    elif here != before:
        problems.append("the host changed")
    return problems + [f"left: {path}" for path in world.machine.leftovers()]


def publish(registry: FakeRegistry) -> tuple[str, str]:
    """The image, into a registry's memory; the digests of its manifest and its layer."""
    store = MemoryStore()
    made = put_image(store, [layer(member("srv/app", CONTENT))], labels={"io.ashore.root": "/"})
    registry.blobs[REPOSITORY] = {str(digest): data for digest, data in store.blobs.items()}
    registry.manifests[REPOSITORY] = {str(digest): held for digest, held in store.manifests.items()}
    registry.tags[REPOSITORY] = {TAG: made.digest}
    return made.digest, msgspec.json.decode(store.manifests[made.digest][1])["layers"][0]["digest"]


class Raw:
    """A server that says the same bytes to everybody, whatever they ask, again and again if `endless`."""

    def __init__(self, says: bytes, *, endless: bool = False, hang: bool = False) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._says, self._endless, self._hang = says, endless, hang
        self._over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                talk, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(talk,), daemon=True).start()

    def _answer(self, talk: socket.socket) -> None:
        with contextlib.suppress(OSError), talk:
            talk.recv(65536)
            talk.sendall(self._says)
            while self._endless and not self._over.is_set():
                talk.sendall(self._says)
            if self._hang:
                self._over.wait(PATIENCE)

    def close(self) -> None:
        self._over.set()
        self._socket.close()
