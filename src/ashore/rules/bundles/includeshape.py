# SPDX-License-Identifier: Apache-2.0
"""What an ``[[include]]`` of a bundle may say. No I/O."""

from collections.abc import Mapping

from ashore.errors import InputError
from ashore.nouns.bundle import Include
from ashore.nouns.reference import parse
from ashore.nouns.shape import BAD, At, Field, Name, Path, Schema, Table, Text
from ashore.rules.bundles.placeable import forbidden, taken


class IncludeShape:
    """One [[include]]: out of an image, or out of a folder that the build names."""

    table = Table(
        {
            "image": Field(Text(), "the image to lift from, by any transport"),
            "folder": Field(Name(), "or the folder to lift from: build --folder NAME=DIR says where it is"),
            "path": Field(Path(), "a file or folder in it", required=True),
            "to": Field(Path(), "where it goes below root/", required=True),
        }
    )

    def read(self, value: object, at: At) -> object:
        read = self.table.read(value, at)
        if not isinstance(read, dict) or not isinstance(value, dict):
            return read
        if "image" in value and "folder" in value:
            at.below("folder").problem(f"{at} has image and folder", "it comes from one of them: write two of them")
        elif "image" not in value and "folder" not in value:
            at.problem(f"{at} has no image", "or folder, to lift it out of one of this machine")
        self._problems(read, at)
        return Include(**read) if {"path", "to"} <= read.keys() else BAD

    @staticmethod
    def _problems(read: Mapping[str, object], at: At) -> None:
        """What would stop the build, or every install, is wrong as it is written."""
        image, to = read.get("image"), read.get("to")
        if isinstance(image, str):
            try:
                parse(image)
            except InputError as error:
                at.below("image").problem(str(error), error.remedy)
        if isinstance(to, str) and (why := forbidden(to.strip("/")) or taken(to)):
            at.below("to").problem(why)

    def schema(self) -> Schema:
        return self.table.schema() | {"oneOf": [{"required": ["image"]}, {"required": ["folder"]}]}
