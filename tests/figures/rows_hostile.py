# SPDX-License-Identifier: Apache-2.0
"""The harnesses of hostile input: images, registries, damaged state, racing paths, the model, fuzzing."""

from tests.figures.rows import Harness

_MODULE = "tests.hostile.figures"
RELEASES, IMAGES, REGISTRIES, STATE, PATHS, MODEL, FUZZ = (
    "Bad releases", "Hostile images", "Hostile registries", "Damaged state", "Racing paths", "Model", "Fuzzing",
)  # fmt: skip

_GONE_BACK = "tests.hostile.releases.gone_back"

HARNESSES = (
    Harness(
        RELEASES,
        _GONE_BACK,
        note="On booted systemd hosts. Files, enablement and units are as before, what was not touched is the same "
        "process, the image is held.",
    ),
    Harness(RELEASES, _GONE_BACK, ("--control", "--sample", "12"), "The same with nobody looking.", beside=True),
    Harness(IMAGES, _MODULE, ("images",), note="Each through the whole of install; a benign image beside it installs."),
    Harness(IMAGES, _MODULE, ("images-rootfs",), note="The same from within a container that has the host at /rootfs."),
    Harness(
        IMAGES,
        _MODULE,
        ("peers",),
        note="The images that ashore refuses with exit 3. Peers have other aims: taking one is no fault by itself.",
        beside=True,
    ),
    Harness(REGISTRIES, _MODULE, ("registries",), note="The right exit code, in time, and no credential elsewhere."),
    Harness(
        STATE,
        _MODULE,
        ("state",),
        note="No wrong apply, no traceback, never taken for a fresh host. "
        "Generations and journals at every byte, commands at 128 or 48 places of each file, or all of a short one.",
    ),
    Harness(PATHS, _MODULE, ("paths",), note="Two minutes for each place that the symlink leads to."),
    Harness(PATHS, _MODULE, ("race-control",), note="The race is real.", beside=True),
    Harness(MODEL, _MODULE, ("model",), note="Hypothesis draws the sequences."),
    Harness(
        FUZZ,
        _MODULE,
        ("fuzz",),
        note="Half a minute for each reader, with atheris, from what earlier runs have reached.",
    ),
)
