# SPDX-License-Identifier: Apache-2.0
"""What the rows of the bench work with: a registry, a ground to install to, images that were pushed before."""

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.ground import Ground
from tests.bench.measure import Contender, FailedError, Series, in_turn
from tests.bench.peers import Published
from tests.bench.report import LEFT_OUT, Claim, Peak, Table, Written
from tests.bench.trees import Made, Shape
from tests.system.registry_server import RegistryServer

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BARE = "python -c pass"


@dataclass
class Lab:
    """One run of the bench. `shape` is that of its tree, `rounds` how often each contender runs."""

    folder: Path
    ground: Ground
    registry: RegistryServer
    shape: Shape
    rounds: int
    short: int
    """Rounds of what takes milliseconds."""
    images: dict[str, Published] = field(default_factory=dict)
    trees: dict[str, Made] = field(default_factory=dict)

    def ashore(self, *arguments: str) -> list[str]:
        """A command line as a user's."""
        script = Path(sys.executable).with_name("ashore")
        program = [str(script)] if script.exists() else [sys.executable, "-m", "ashore"]
        return [*program, *arguments]

    def installing(self, image: str, name: str = "ashore") -> Contender:
        """The installation of a pushed image on new ground."""
        command = self.ashore("install", self.images[image].reference, "--root", str(self.ground.root))
        return Contender(name, command, self.ground.fresh, env=self.env, disk=self.ground.disk)

    @property
    def env(self) -> dict[str, str]:
        # Installed programs have their bytecode beside them, whatever this environment says.
        return {"ASHORE_CACHE": str(self.folder / "cache"), "PYTHONDONTWRITEBYTECODE": ""}

    def do(self, *arguments: str) -> str:
        """Run ashore, unmeasured, and return its result."""
        done = subprocess.run(self.ashore(*arguments), capture_output=True, text=True, env=self.env)
        if done.returncode:
            raise FailedError(f"ashore {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout

    def push(self, tree: Path, tag: str, compression: str, *options: str) -> Published:
        """Build a bundle folder into the registry, once."""
        if tag not in self.images:
            reference = f"{self.registry.host}/bench/tree:{tag}"
            self.do("build", str(tree), "-t", reference, "--push", "--compression", compression, *options)
            with self._get(f"/v2/bench/tree/manifests/{tag}", _MANIFEST) as answer:
                layers = tuple(layer["digest"].partition(":")[2] for layer in json.load(answer)["layers"])
            self.images[tag] = Published(self.registry.host, "bench/tree", tag, layers)
        return self.images[tag]

    def blob(self, tag: str) -> Path:
        """The only layer of a pushed image, as a file."""
        (layer,) = self.images[tag].layers
        path = self.folder / layer
        if not path.exists():
            with self._get(f"/v2/bench/tree/blobs/sha256:{layer}") as answer, path.open("wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
        return path

    def asked(self, act: Callable[[], object]) -> "Asked":
        """What the registry was asked and gave while `act` ran."""
        log = Path(self.registry.log)
        before = log.stat().st_size
        act()
        with log.open() as file:
            file.seek(before)
            lines = [line.split('"') for line in file if ' HTTP/1.1" ' in line]
        sizes = [int(line[2].split()[1]) for line in lines if not line[1].startswith("HEAD")]
        return Asked([line[1].rpartition(" ")[0] for line in lines], sum(sizes))

    def compare(
        self,
        title: str,
        contenders: Sequence[Contender],
        claims: Sequence[Claim | Peak | Written] = (),
        *,
        note: str = "",
        control: str = "",
        rounds: int | None = None,
        facts: Sequence[str] = (),
    ) -> Table:
        """Measure contenders in turn; the one named `control` twice, to show what of a ratio is noise."""
        again = [contender for contender in contenders if contender.name == control]
        taken, left_out = in_turn([*contenders, *again], rounds or self.rounds)
        second: Series | None = taken.pop() if again else None
        return Table(title, note, taken, claims, [*facts, *(f"{LEFT_OUT}{line}" for line in left_out)], second)

    def _get(self, path: str, accept: str = "*/*") -> "urllib.request._UrlopenRet":
        request = urllib.request.Request(f"http://{self.registry.host}{path}", headers={"Accept": accept})
        return urllib.request.urlopen(request, timeout=60)


@dataclass(frozen=True)
class Asked:
    """Requests as method and path, and the bytes of their answers."""

    requests: list[str]
    bytes: int

    def __str__(self) -> str:
        return f"{self.bytes / 1e3:,.0f} kB in {len(self.requests)} requests"


def bare() -> Contender:
    """An interpreter that does nothing: what start-up is measured against."""
    return Contender(BARE, [sys.executable, "-c", "pass"])
