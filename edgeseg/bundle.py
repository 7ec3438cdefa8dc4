"""The bundle: one ZIP archive `NAME.edgeseg` with manifest.json and payloads.

Nothing in it is executed or unpickled. It is checked in full before any inference runtime sees a byte.
"""

import copy
import hashlib
import io
import os
import struct
import zipfile
from typing import Dict, NamedTuple, Tuple

from edgeseg import packing
from edgeseg.errors import BundleError, EnvironmentFault, UsageError
from edgeseg.manifest import Manifest, PayloadInfo, parse_manifest

SUFFIX = ".edgeseg"
MANIFEST = "manifest.json"
# What payloads are called in the archives that edgeseg writes, by role.
MEMBERS = {
    "tflite": "network.tflite",
    "edgetpu": "network_edgetpu.tflite",  # the compiler's own name for it, after network.tflite
    "onnx": "network.onnx",
    "activation-ranges": "activation-ranges.json",
    "golden": "golden.npz",
}
MAX_MANIFEST_BYTES = 4 << 20
MAX_PAYLOAD_BYTES = 1 << 30
MAX_LZMA_MEMORY = 64 << 20  # we write with a dictionary of 8 MiB

_DAMAGED = "copy or download the file again, or export the network again"


class Bundle(NamedTuple):
    """A verified bundle in memory: `payloads` maps a role ("tflite", "onnx", ...) to its bytes."""

    path: str
    manifest: Manifest
    payloads: Dict[str, bytes]


def read_bundle(path: str) -> Bundle:
    """Read and verify a bundle.

    Raises UsageError if `path` does not exist, BundleError if anything in it is not as it should be.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        problem = "is a folder" if os.path.isdir(path) else "does not exist"
        raise UsageError("bundle {} {}".format(path, problem), "give the path of a {} file".format(SUFFIX))
    try:
        if os.path.getsize(path) > MAX_PAYLOAD_BYTES:
            raise BundleError("{} is larger than a bundle can be".format(path), "give a file made by `edgeseg export`")
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise EnvironmentFault("{} cannot be read: {}".format(path, error), "check the disk and permissions")
    try:
        manifest, payloads = _content(data)
    except BundleError as error:
        raise BundleError("{}: {}".format(path, error.message), error.fix)
    except Exception as error:  # zipfile has no one exception for what damaged archives do to it
        raise BundleError("{} is truncated, damaged or not a bundle: {}".format(path, error), _DAMAGED)
    return Bundle(path, manifest, payloads)


def _content(data: bytes) -> Tuple[Manifest, Dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = _members(archive)
        manifest = parse_manifest(_read(archive, members[MANIFEST], MAX_MANIFEST_BYTES).decode("utf-8"))
        payloads = _payloads(archive, members, manifest)
    if manifest.compression is not None:
        from edgeseg.kernels import check_compression

        check_compression(manifest, payloads)
    return manifest, payloads


def _members(archive: zipfile.ZipFile) -> Dict[str, zipfile.ZipInfo]:
    """The archive's members by name, after checking the names."""
    members: Dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        parts = name.split("/")
        is_link = (info.external_attr >> 28) == 0xA
        if name.startswith("/") or "\\" in name or ":" in name or "\0" in name or is_link:
            raise BundleError("member {!r} leaves the archive".format(name), "do not use this file")
        if any(part in ("", ".", "..") for part in parts):
            raise BundleError("member {!r} leaves the archive".format(name), "do not use this file")
        if name in members:
            raise BundleError("member {!r} occurs twice".format(name), "do not use this file")
        members[name] = info
    if MANIFEST not in members:
        raise BundleError("there is no {}: not a bundle".format(MANIFEST), "give a file made by `edgeseg export`")
    return members


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """Read a member of at most `limit` bytes, whatever its header claims."""
    too_big = BundleError(
        "member {} is larger than the {} bytes that it may have".format(info.filename, limit), _DAMAGED
    )
    if info.file_size > limit:
        raise too_big
    try:
        data = _unpack(archive, info, limit + 1)
    except zipfile.BadZipFile:  # a wrong checksum or header
        raise
    except Exception as error:  # lzma, zlib, encryption and unknown methods each raise their own
        raise BundleError("member {} cannot be unpacked: {}".format(info.filename, error), _DAMAGED)
    if len(data) > limit:
        raise too_big
    return data


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """At most `limit` bytes of a member, in memory for about as many."""
    if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with archive.open(info) as file:
            return file.read(limit)
    if info.compress_type != zipfile.ZIP_LZMA:
        raise NotImplementedError("compression method {}".format(info.compress_type))
    # zipfile would expand all of an LZMA member at once, whatever its size. So the packed bytes are read as if
    # they were stored, and their header (APPNOTE.TXT 5.8.8: version, length 5, properties) becomes that of a
    # .lzma file of unknown size.
    import lzma

    packed = copy.copy(info)
    packed.compress_type = zipfile.ZIP_STORED
    packed.file_size = packed.compress_size
    del packed.CRC
    with archive.open(packed) as file:
        raw = file.read()
    if struct.unpack_from("<H", raw, 2)[0] != 5:
        raise ValueError("its LZMA header is damaged")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_LZMA_MEMORY)
    return decompressor.decompress(raw[4:9] + b"\xff" * 8 + raw[9:], limit)


def _payloads(archive: zipfile.ZipFile, members: Dict[str, zipfile.ZipInfo], manifest: Manifest) -> Dict[str, bytes]:
    declared = {payload.path: payload for payload in manifest.payloads}
    roles = [payload.role for payload in manifest.payloads]
    if len(declared) != len(roles) or len(set(roles)) != len(roles):
        raise BundleError("two payloads share a path or a role", _DAMAGED)
    strangers = sorted(set(members) - set(declared) - {MANIFEST})
    if strangers:
        raise BundleError("members that the manifest does not name: {}".format(", ".join(strangers)), _DAMAGED)
    payloads = {}
    for payload in manifest.payloads:
        if payload.path not in members or payload.path == MANIFEST:
            raise BundleError("payload {} is missing".format(payload.path), _DAMAGED)
        if not 0 < payload.bytes <= MAX_PAYLOAD_BYTES:
            raise BundleError("payload {} claims {} bytes".format(payload.path, payload.bytes), _DAMAGED)
        data = _payload(archive, members[payload.path], payload)
        if len(data) != payload.bytes:
            raise BundleError(
                "payload {} has {} bytes, not {}".format(payload.path, len(data), payload.bytes), _DAMAGED
            )
        if hashlib.sha256(data).hexdigest() != payload.sha256:
            raise BundleError("payload {} has the wrong SHA-256 hash".format(payload.path), _DAMAGED)
        payloads[payload.role] = data
    return payloads


def _payload(archive: zipfile.ZipFile, member: zipfile.ZipInfo, payload: PayloadInfo) -> bytes:
    if not payload.path.endswith(packing.SUFFIX):
        return _read(archive, member, payload.bytes)
    return packing.unpack(_read(archive, member, payload.bytes + packing.MAX_TABLE_BYTES), payload.bytes)


def payload_info(role: str, path: str, data: bytes) -> PayloadInfo:
    """Describe a payload for the manifest. Its path says whether it is packed in the archive."""
    if packing.packable(role, data):
        path += packing.SUFFIX
    return PayloadInfo(role, path, hashlib.sha256(data).hexdigest(), len(data))


def write_bundle(path: str, manifest: Manifest, payloads: Dict[str, bytes]) -> None:
    """Write a bundle atomically; `payloads` by role, as the manifest describes them.

    The archive is the same, byte for byte, for the same content. Raises EnvironmentFault if the disk
    is full or the folder cannot be written; then nothing is left behind.
    """
    temporary = "{}.{}.tmp".format(path, os.getpid())
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            # Not compressed: a manifest that tells the size of its bundle would never have the size that it tells.
            _add(archive, MANIFEST, manifest.to_json().encode("utf-8"), zipfile.ZIP_STORED)
            for payload in manifest.payloads:
                data = payloads[payload.role]
                if payload.path.endswith(packing.SUFFIX):
                    data = packing.pack(data, packing.packable(payload.role, data))
                # The entropy-coding stage of Deep Compression (Han et al. 2016).
                _add(archive, payload.path, data, zipfile.ZIP_LZMA)
        read_bundle(temporary)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentFault("{} cannot be written: {}".format(path, reason), "check free space and permissions")
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _add(archive: zipfile.ZipFile, name: str, data: bytes, method: int) -> None:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = method
    info.external_attr = 0o100644 << 16
    archive.writestr(info, data)
