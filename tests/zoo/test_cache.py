"""Where the cache lies, by platform and environment."""

import sys
from pathlib import Path

import pytest

from onelook.errors import ZooError
from onelook.zoo.cache import cache_directory

HOME = Path("/home/ada")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("ONELOOK_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: HOME)
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, HOME / ".cache/onelook"),
        ("linux", {"XDG_CACHE_HOME": "/var/cache/ada"}, Path("/var/cache/ada/onelook")),
        ("linux", {"XDG_CACHE_HOME": "relative"}, HOME / ".cache/onelook"),
        ("linux", {"XDG_CACHE_HOME": ""}, HOME / ".cache/onelook"),
        ("darwin", {"XDG_CACHE_HOME": "/var/cache/ada"}, HOME / "Library/Caches/onelook"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/onelook/Cache")),
        ("win32", {}, HOME / "AppData/Local/onelook/Cache"),
        ("linux", {"ONELOOK_HOME": "/models", "XDG_CACHE_HOME": "/other"}, Path("/models")),
        ("darwin", {"ONELOOK_HOME": "/models"}, Path("/models")),
        ("win32", {"ONELOOK_HOME": "/models", "LOCALAPPDATA": "/local"}, Path("/models")),
        ("linux", {"ONELOOK_HOME": ""}, HOME / ".cache/onelook"),
    ],
)
def test_cache_follows_the_platform_unless_onelook_home_is_set(platform, environment, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == expected


def test_a_tilde_in_onelook_home_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", str(HOME))
    monkeypatch.setenv("ONELOOK_HOME", "~/models")
    assert cache_directory() == HOME / "models"


def test_without_a_home_directory_the_error_names_the_way_out(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ZooError, match="ONELOOK_HOME"):
        cache_directory()
