# SPDX-License-Identifier: Apache-2.0
"""``make compare``: the same jobs for ashore and for what one would use instead, on booted hosts; prints the table."""

import argparse
import sys
import traceback
from pathlib import Path

from tests.compare import contenders, jobs
from tests.compare.site import site
from tests.system import lab, registry_server

PAGE = Path(__file__).resolve().parents[2] / "docs/explanation/comparison.md"
START, END = "<!-- table: written by make compare -->", "<!-- end of table -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    parser.add_argument("--only", default="", help="a part of a contender's name")
    parser.add_argument("--without", default="", help="leave out this contender")
    parser.add_argument("--job", default="", help="a part of a job's name")
    asked = parser.parse_args()
    if reason := lab.missing():
        sys.exit(f"compare: no real host here: {reason}")
    chosen = [each for each in contenders.ALL if asked.only in each.name and each.name != asked.without]
    rows = ["| | " + " | ".join(each.name for each in chosen) + " |", "|---" * (len(chosen) + 1) + "|"]
    with registry_server.registry_server() as registry:
        for number, (title, job) in enumerate(jobs.ALL.items()):
            if asked.job in title:
                cells = [_cell(job, each, f"cmp{number}", registry) for each in chosen]
                rows.append(f"| {title} | " + " | ".join(cells) + " |")
                print(rows[-1], flush=True)
    print("\n" + "\n".join(rows))
    if asked.write:
        head, _, rest = PAGE.read_text().partition(START)
        left_out = ["", f"Left out this time: {asked.without}."] if asked.without else []
        PAGE.write_text(head + "\n".join([START, "", *rows, *left_out, "", END]) + rest.partition(END)[2])
    return 0


def _cell(job: jobs.Job, each: contenders.Contender, name: str, registry: registry_server.RegistryServer) -> str:
    try:
        with site(name, registry) as place:
            answer = job(place, each)
    except Exception:
        traceback.print_exc()
        return "could not be run"
    return answer.text if answer.good else f"**{answer.text}**"


if __name__ == "__main__":
    sys.exit(main())
