# SPDX-License-Identifier: Apache-2.0
"""OCI archives: a layout in one tar file. They are read as layouts (`layout.LayoutReader`); this writes them."""

import os

import msgspec

from ashore.errors import VerificationError
from ashore.mechanisms.images.layout import INDEX_NAME, LAYOUT_NAME, LAYOUT_TEXT, REF_NAME, blob_name, named_index
from ashore.mechanisms.images.streams import BytesStream, pipe
from ashore.mechanisms.images.tarwrite import END, header, padding
from ashore.mechanisms.newfile import NewFile, write_fault
from ashore.nouns.digest import Digest, of
from ashore.nouns.image import Descriptor
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.ports import Stream


class TarFileWriter:
    """Files one after the other into a new archive, that appears when `finish` is called."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = NewFile(os.path.dirname(path), os.path.basename(path))
        self.names: set[str] = set()

    def __enter__(self) -> "TarFileWriter":
        with write_fault(self._path):
            self._file.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

    def add(self, name: str, size: int, stream: Stream) -> None:
        """Write the file `name`.

        Raises:
            VerificationError: other than `size` bytes came; they would be read as what they are not.
        """
        with write_fault(self._path):
            start = self._file.position()
            try:
                self._file.write(header(TarEntry(name=name, kind=Member.FILE, size=size)))
                if (came := pipe(stream, self._file.write)) != size:
                    raise VerificationError(f"{name}: {size} bytes were announced, {came} came")
                self._file.write(padding(size))
            except BaseException:
                self._file.back_to(start)
                raise
        self.names.add(name)

    def finish(self) -> None:
        """End the archive and give it its name."""
        with write_fault(self._path):
            self._file.write(END)
            self._file.commit()


class ArchiveWriter:
    """`ports.ImageWriter` into an OCI archive: there once a manifest was named."""

    def __init__(self, file: TarFileWriter, tag: str) -> None:
        self._file, self._tag = file, tag
        self._beside: tuple[Descriptor, ...] = ()

    def has_blob(self, descriptor: Descriptor) -> bool:
        return blob_name(descriptor.digest) in self._file.names

    def put_blob(self, descriptor: Descriptor, stream: Stream) -> None:
        if not self.has_blob(descriptor):
            self._file.add(blob_name(descriptor.digest), descriptor.size, stream)

    def put_referrer(self, subject: Digest, descriptor: Descriptor, data: bytes) -> None:
        """Store a manifest that refers to `subject`; it is listed when the image is named."""
        self._put_beside(descriptor, data)

    def there_tagged(self, tag: str) -> bytes | None:
        """Nothing: an archive is written anew."""
        return None

    def put_tagged(self, tag: str, media_type: str, data: bytes) -> None:
        """Store a manifest under another tag; it is listed when the image is named."""
        descriptor = Descriptor(media_type=media_type, digest=of(data), size=len(data), annotations={REF_NAME: tag})
        self._put_beside(descriptor, data)

    def _put_beside(self, descriptor: Descriptor, data: bytes) -> None:
        self.put_blob(descriptor, BytesStream(data))
        self._beside = (*self._beside, descriptor)

    def put_manifest(self, media_type: str, data: bytes, *, named: bool) -> Digest:
        descriptor = Descriptor(media_type=media_type, digest=of(data), size=len(data))
        self.put_blob(descriptor, BytesStream(data))
        if named:
            index = msgspec.json.encode(named_index(self._beside, descriptor, self._tag))
            for name, text in ((INDEX_NAME, index), (LAYOUT_NAME, LAYOUT_TEXT)):
                self._file.add(name, len(text), BytesStream(text))
            self._file.finish()
        return descriptor.digest
