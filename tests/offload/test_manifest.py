"""Tests that damaged models, and models of other networks, are rejected."""

import pytest

from offload import ManifestError, ModelManifest, make_profile, resolve_settings
from offload.manifest import FileEntry

ACTOR = b"an actor's bytes"


def profile(nodes=3, name="default"):
    return make_profile(resolve_settings([{"network": {"nodes": nodes}, "node": {"profile": name}}]))


def manifest(**changes):
    made = profile()
    fields = {
        "version": "offline",
        "algorithm": "sac-cql",
        "profile": made.to_json(),
        "actions": 4,
        "observation_size": made.size,
        "files": {"actor.onnx": FileEntry.of(ACTOR)},
    }
    return ModelManifest(**(fields | changes))


def test_a_manifest_survives_the_way_through_its_file():
    assert ModelManifest.from_bytes(manifest().to_bytes(), "here") == manifest()


def test_its_own_network_and_files_fit():
    manifest().check_fit(profile())
    manifest().check_files({"actor.onnx": ACTOR})


@pytest.mark.parametrize(
    ("made", "target", "parts"),
    [
        (manifest(), profile(nodes=5), ["offline", "nodes", "3", "5", "actions", "the model has 4", "needs 6"]),
        (manifest(), profile(name="paper"), ["'default'", "'paper'"]),
        (manifest(observation_size=9), profile(), ["observation size", "9"]),
        (manifest(actions=9), profile(), ["actions: the model has 9", "needs 4"]),
    ],
)
def test_a_model_for_something_else_is_refused_with_both_sides(made, target, parts):
    with pytest.raises(ManifestError) as refused:
        made.check_fit(target)
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"actor.onnx": ACTOR[:-3]}, ["actor.onnx", "13 bytes", "16", "truncated"]),
        ({"actor.onnx": b"An actor's bytes"}, ["actor.onnx", "SHA-256"]),
        ({"extra.bin": b""}, ["extra.bin", "not in its manifest"]),
    ],
)
def test_a_damaged_file_is_refused(files, parts):
    with pytest.raises(ManifestError) as refused:
        manifest().check_files(files)
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe", "not a manifest"),
        (b"[]", "not a manifest"),
        (b"[" * 100_000, "not a manifest"),
        (b"{}", "version"),
        (manifest().to_bytes().replace(b'"actions": 4', b'"actions": 1'), "actions"),
        (manifest().to_bytes().replace(b'"format": 1', b'"format": 2'), "format"),
        (manifest().to_bytes().replace(b'"parent"', b'"surprise"'), "surprise"),
        (manifest().to_bytes()[:-40], "not a manifest"),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_the_place(content, part):
    with pytest.raises(ManifestError) as refused:
        ModelManifest.from_bytes(content, "models/r/v/manifest.json")
    assert "models/r/v/manifest.json" in str(refused.value)
    assert part in str(refused.value)


@pytest.mark.parametrize("version", ["", "..", ".", "../../x", "a/b", "a b", "-", "x" * 65])
def test_a_version_that_is_not_one_folders_name_is_refused(version):
    with pytest.raises(ValueError, match="version"):
        manifest(version=version)


@pytest.mark.parametrize("version", ["offline", "offline-checkpoint-600", "o2o-drl-0003", "v1.2_b"])
def test_the_versions_that_are_used_are_accepted(version):
    assert manifest(version=version).version == version
