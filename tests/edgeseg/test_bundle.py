"""Bundles: what was written is read back, and whatever is wrong is refused, each with its own message."""

import io
import json
import random
import struct
import zipfile

import pytest

from edgeseg.bundle import MAX_MANIFEST_BYTES, payload_info, read_bundle, write_bundle
from edgeseg.errors import BundleError, EnvironmentFault, UsageError
from edgeseg.manifest import SCHEMA, InputInfo, Manifest, NetworkInfo, OutputInfo, TargetInfo, parse_manifest
from edgeseg.palette import CAMVID

PAYLOAD = bytes(random.Random(1).choices(range(64), k=20000))


def manifest():
    return Manifest(
        schema=SCHEMA,
        network=NetworkInfo("fcn8", 0.35, (64, 96), 8, 1000, 2000000),
        classes=CAMVID,
        input=InputInfo((1, 64, 96, 3), "uint8", "nhwc", "rgb", (1.0,) * 3, (0.0,) * 3, "stretch"),
        output=OutputInfo((1, 8, 12, 11), "int8", "nhwc", "logits", "half_pixel", 0.1, -3),
        target=TargetInfo("cpu", "tflite", "int8"),
        payloads=(payload_info("tflite", "payload/network.tflite", PAYLOAD),),
        compression=None,
        calibration={"images": 3, "coverage": {"Sky": 0.25}},
        parity={"agreement": 0.99},
        accuracy=None,
        compilation=None,
        verification=None,
        provenance={"edgeseg": "0.1.0"},
    )


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "good.edgeseg"
    write_bundle(str(path), manifest(), {"tflite": PAYLOAD})
    return path


def rewrite(path, change_manifest=None, members=None, method=zipfile.ZIP_DEFLATED):
    """Write the archive anew with another manifest (a function of the dictionary) or other members."""
    with zipfile.ZipFile(str(path)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    if change_manifest:
        raw = json.loads(content["manifest.json"].decode())
        change_manifest(raw)
        content["manifest.json"] = json.dumps(raw).encode()
    content.update(members or {})
    with zipfile.ZipFile(str(path), "w", method) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def refusal(path, kind=BundleError):
    """The message and the fix with which a bundle is refused."""
    with pytest.raises(kind) as caught:
        read_bundle(str(path))
    assert caught.value.fix
    return caught.value.message


def test_what_was_written_is_read_back(bundle):
    found = read_bundle(str(bundle))
    assert found.manifest == manifest()
    assert found.payloads == {"tflite": PAYLOAD}


def test_the_same_content_gives_the_same_file(bundle, tmp_path):
    again = tmp_path / "again.edgeseg"
    write_bundle(str(again), manifest(), {"tflite": PAYLOAD})
    assert again.read_bytes() == bundle.read_bytes()


def test_payloads_are_packed_and_any_unzip_tool_reads_them(bundle):
    assert bundle.stat().st_size < len(PAYLOAD)
    with zipfile.ZipFile(str(bundle)) as archive:
        assert archive.testzip() is None
        assert archive.read("payload/network.tflite") == PAYLOAD


def test_an_old_bundle_survives_a_failed_write(bundle):
    before = bundle.read_bytes()
    with pytest.raises(BundleError):
        write_bundle(str(bundle), manifest()._replace(schema=99), {"tflite": PAYLOAD})
    assert bundle.read_bytes() == before
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_a_folder_that_is_absent_is_a_fault_of_the_machine(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        write_bundle(str(tmp_path / "no" / "a.edgeseg"), manifest(), {"tflite": PAYLOAD})


def test_absent_file(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.edgeseg", UsageError)
    assert "is a folder" in refusal(tmp_path, UsageError)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", bytes(5000)])
def test_other_files(tmp_path, content):
    path = tmp_path / "other.edgeseg"
    path.write_bytes(content)
    assert "truncated, damaged or not a bundle" in refusal(path)


def test_a_zip_file_of_something_else(tmp_path):
    path = tmp_path / "photos.edgeseg"
    with zipfile.ZipFile(str(path), "w") as archive:
        archive.writestr("photo.jpg", b"1234")
    assert "there is no manifest.json" in refusal(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_truncated(bundle, share):
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * share)])
    assert "truncated" in refusal(bundle)


def test_wrong_hash(bundle):
    changed = bytearray(PAYLOAD)
    changed[100] ^= 1
    rewrite(bundle, members={"payload/network.tflite": bytes(changed)})
    assert "payload/network.tflite has the wrong SHA-256 hash" in refusal(bundle)


def test_wrong_schema(bundle):
    rewrite(bundle, lambda raw: raw.update(schema=2))
    assert f"manifest schema 2; this edgeseg reads schema {SCHEMA}" in refusal(bundle)


def test_boolean_is_no_schema(bundle):
    rewrite(bundle, lambda raw: raw.update(schema=True))
    assert "schema is True, not int" in refusal(bundle)


@pytest.mark.parametrize("where", ["top level", "network", "input", "classes[3]", "payloads[0]"])
def test_unknown_key(bundle, where):
    def change(raw):
        part = {"top level": raw, "classes[3]": raw["classes"][3], "payloads[0]": raw["payloads"][0]}
        (part.get(where) or raw[where])["surprise"] = 1

    rewrite(bundle, change)
    assert f"{where} has unknown key(s) surprise" in refusal(bundle)


@pytest.mark.parametrize(
    "part, key, value, words",
    [
        ("network", "imgsz", [64], "network.imgsz is not a list of 2"),
        ("network", "imgsz", [64, 100], "input.shape is (1, 64, 96, 3)"),
        ("network", "stride", 0, "has size 64x96 and stride 0"),
        ("network", "width", "1.0", "network.width is '1.0'"),
        ("network", "width", float("nan"), "not a finite number"),
        ("network", "macs", -5, "network.macs"),
        ("input", "dtype", "float64", "input.dtype is 'float64'"),
        ("input", "shape", [1, 64, 64, 3], "input.shape is (1, 64, 64, 3)"),
        ("input", "color", "rgba", "input.color is 'rgba'"),
        ("input", "scale", 1.0, "input.scale is 1.0, not a list of 3 numbers"),
        ("input", "scale", [1.0, 1.0], "not a list of 3 numbers"),
        ("input", "scale", [1.0, 0, 1.0], "input.scale must be above 0"),
        ("input", "offset", [0, 0, "0"], "input.offset is '0', not a finite number"),
        ("network", "macs", 1.5, "network.macs is 1.5"),
        ("output", "scale", 0, "output.scale must be above 0"),
        ("output", "dtype", "int64", "output.dtype is 'int64', not one of int8, uint8, float32 for logits"),
        ("output", "kind", "boxes", "output.kind is 'boxes'"),
        ("output", "kind", "classes", "output.shape is (1, 8, 12, 11), but network and classes ask for (1, 8, 12, 1)"),
        ("output", "resize", "corners", "output.resize is 'corners', not one of half_pixel, align_corners"),
        ("output", "shape", [8, 12], "output.shape is not a list of 3 or 4"),
        ("output", "shape", [1, 8, 12], "output.shape is (1, 8, 12)"),
        ("output", "zero_point", 0.5, "output.zero_point is 0.5"),
        ("output", "shape", [1, 8, 12, 10], "output.shape"),
        ("target", "name", 7, "target.name is 7"),
    ],
)
def test_wrong_values(bundle, part, key, value, words):
    rewrite(bundle, lambda raw: raw[part].update({key: value}))
    assert words in refusal(bundle)


@pytest.mark.parametrize(
    "shape, dtype, scale, words",
    [
        ([1, 8, 12], "int64", 1.0, ""),
        ([1, 8, 12, 1], "float32", 1.0, ""),
        ([1, 8, 12], "int32", 0.5, "output has a scale or zero point"),
        ([1, 8, 12], "float16", 1.0, "output.dtype is 'float16', not one of int8, uint8, int32, int64, float32 for"),
        ([1, 8, 13], "int64", 1.0, "output.shape is (1, 8, 13)"),
    ],
)
def test_class_ids(bundle, shape, dtype, scale, words):
    change = {"kind": "classes", "shape": shape, "dtype": dtype, "scale": scale, "zero_point": 0}
    rewrite(bundle, lambda raw: raw["output"].update(change))
    if words:
        assert words in refusal(bundle)
    else:
        found = read_bundle(str(bundle)).manifest
        assert found.output.kind == "classes" and found.output.shape == tuple(shape)
        assert parse_manifest(found.to_json()) == found


def test_sizes_that_the_stride_does_not_divide(tmp_path):
    """A last cell may be filled in part: 513 pixels at stride 16 are 33 cells."""
    whole = manifest()
    odd = whole._replace(
        network=whole.network._replace(imgsz=(513, 97), stride=16, macs=None),
        input=whole.input._replace(
            shape=(1, 513, 97, 3), dtype="int8", scale=(1.0, 0.5, 2.0), offset=(-128.0, 0.0, 3.0)
        ),
        output=whole.output._replace(shape=(1, 33, 7, 11), resize="align_corners"),
    )
    assert parse_manifest(odd.to_json()) == odd
    assert odd.input.formula == "value = pixel * (1, 0.5, 2) + (-128, 0, 3)"
    wrong = odd._replace(output=odd.output._replace(shape=(1, 32, 6, 11)))
    with pytest.raises(BundleError, match=r"output.shape is \(1, 32, 6, 11\)"):
        parse_manifest(wrong.to_json())


@pytest.mark.parametrize("key", ["network", "provenance", "accuracy"])
def test_missing_key(bundle, key):
    rewrite(bundle, lambda raw: raw.pop(key))
    assert f"lacks key(s) {key}" in refusal(bundle)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100000, b'{"schema": 1e999}'])
def test_manifest_that_is_no_manifest(bundle, text):
    rewrite(bundle, members={"manifest.json": text})
    refusal(bundle)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:evil", "a\\..\\evil", "a//b", "./a"])
def test_path_that_leaves_the_archive(bundle, name):
    rewrite(bundle, members={name: b"1"})
    assert "leaves the archive" in refusal(bundle)


def test_link(bundle):
    info = zipfile.ZipInfo("payload/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(str(bundle), "a") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "leaves the archive" in refusal(bundle)


def test_member_that_the_manifest_does_not_name(bundle):
    rewrite(bundle, members={"payload/extra": b"1"})
    assert "members that the manifest does not name: payload/extra" in refusal(bundle)


def test_member_twice(bundle):
    with zipfile.ZipFile(str(bundle), "a") as archive, pytest.warns(UserWarning):
        archive.writestr("payload/network.tflite", PAYLOAD)
    assert "occurs twice" in refusal(bundle)


def test_payload_is_missing(bundle):
    rewrite(bundle, members={"payload/network.tflite": None})
    assert "payload payload/network.tflite is missing" in refusal(bundle)


def test_two_payloads_of_one_role(bundle):
    rewrite(bundle, lambda raw: raw["payloads"].append(raw["payloads"][0]))
    assert "share a path or a role" in refusal(bundle)


def test_oversized_manifest(bundle):
    rewrite(bundle, members={"manifest.json": b" " * (MAX_MANIFEST_BYTES + 1)})
    assert "manifest.json is larger than" in refusal(bundle)


def test_member_larger_than_the_manifest_says(bundle):
    rewrite(bundle, members={"payload/network.tflite": PAYLOAD + b"1"})
    assert "payload/network.tflite is larger than the 20000 bytes" in refusal(bundle)


def test_payload_shorter_than_the_manifest_says(bundle):
    rewrite(bundle, members={"payload/network.tflite": PAYLOAD[:-1]})
    assert "has 19999 bytes, not 20000" in refusal(bundle)


def test_payload_that_claims_too_much(bundle):
    rewrite(bundle, lambda raw: raw["payloads"][0].update(bytes=1 << 40))
    assert f"claims {1 << 40} bytes" in refusal(bundle)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_bomb_whose_header_lies(bundle, method):
    """100 MB that pack to almost nothing, in a member whose header claims the size in the manifest."""
    size = 100 << 20
    rewrite(bundle, members={"payload/network.tflite": b"\0" * size}, method=method)
    data = bundle.read_bytes()
    lie = data.replace(struct.pack("<L", size), struct.pack("<L", len(PAYLOAD)))
    assert lie != data
    bundle.write_bytes(lie)
    assert _peak_growth(lambda: refusal(bundle)) < 30 << 20


def _peak_growth(call):
    """Bytes that Python's allocator needed at most during a call."""
    import tracemalloc

    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_encrypted_member(bundle):
    data = bytearray(bundle.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(mark)
        while position >= 0:
            data[position + offset] |= 1
            position = data.find(mark, position + 1)
    bundle.write_bytes(bytes(data))
    assert "cannot be unpacked" in refusal(bundle)


def _mutations(data, rng):
    """A damaged copy of a bundle, and the name of what was done."""
    kind = rng.choice(["bytes", "header", "truncate", "append", "splice", "rewrite"])
    out = bytearray(data)
    if kind == "bytes":
        for _ in range(rng.randint(1, 20)):
            out[rng.randrange(len(out))] = rng.randrange(256)
    elif kind == "header":  # where the archive's structure is
        marks = [i for i in range(len(data) - 4) if data[i : i + 2] == b"PK"]
        for _ in range(rng.randint(1, 4)):
            out[min(len(out) - 1, rng.choice(marks) + rng.randrange(46))] = rng.choice([0, 1, 8, 14, 127, 255])
    elif kind == "truncate":
        del out[rng.randrange(len(out)) :]
    elif kind == "append":
        out += bytes(rng.randrange(256) for _ in range(rng.randint(1, 300)))
    elif kind == "splice":
        start = rng.randrange(len(out))
        out[start:start] = out[: rng.randrange(1, 400)]
    else:
        out = bytearray(_rewritten(data, rng))
    return bytes(out), kind


def _rewritten(data, rng):
    """A sound archive with a damaged member: only our own checks stand in the way."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    victim = members[rng.choice(sorted(members))]
    for _ in range(rng.randint(1, 3)):
        position = rng.randrange(len(victim))
        victim[position : position + rng.choice([0, 1, 30])] = rng.choice([b"", b"0", b"-1", b"null", b"[", b"\xff"])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_LZMA])) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(content))
    return file.getvalue()


@pytest.mark.parametrize("seed", range(8))
def test_fuzz(bundle, seed):
    """A damaged bundle is refused, or the damage did not touch anything that is used; never another exception."""
    data = bundle.read_bytes()
    good = read_bundle(str(bundle))
    refused = 0
    for number in range(150):
        damaged, kind = _mutations(data, random.Random(f"{seed} {number}"))
        bundle.write_bytes(damaged)
        try:
            found = read_bundle(str(bundle))
        except (BundleError, UsageError) as error:
            assert error.message and error.fix
            refused += 1
            continue
        except Exception as error:
            pytest.fail(f"seed {seed} number {number} ({kind}): {error!r}")
        assert found.payloads == good.payloads, (seed, number, kind)
        if found.manifest != good.manifest:  # a manifest carries no hash of itself: another value may be legal
            assert kind == "rewrite", (seed, number, kind)
    assert refused > 75
