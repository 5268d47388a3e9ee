# SPDX-License-Identifier: Apache-2.0
"""The cases of containerd's TestBreakouts (pkg/archive/tar_test.go), by its names: each over the whole image.

containerd resolves names in the image's root and lets most of them land there. ashore refuses what lies
below a symlink of the image, and hard links through one; what it allows, lands inside.
"""

from tests.fakes.images import folder, hardlink, layer, member, symlink
from tests.hostile.images.case import Case, legal, refused

ETC = folder("etc", b"0000770")
PASSWD = member("/etc/passwd", b"inside")
LOWER = layer(folder("etc"), PASSWD)
BELOW, NO_LINK, OUT, NAMELESS = "which is a symlink", "hard link", "leads out", "whiteout without a name"

CASES: dict[str, Case] = {
    "SymlinkAbsolute": refused(BELOW, layer(
        folder("etc"), symlink("localetc", "/etc"), member("/localetc/unbroken", b"x")), entry="localetc/unbroken"),
    "SymlinkUpAndOut": refused(BELOW, layer(
        folder("etc"), folder("dummy"), symlink("localetc", "/dummy/../etc"), member("/localetc/unbroken", b"x")),
        entry="localetc/unbroken"),
    "SymlinkMultipleAbsolute": refused(BELOW, layer(
        folder("etc"), folder("dummy"), symlink("/dummy/etc", "/etc"), symlink("localetc", "/dummy/etc"),
        member("/dummy/etc/unbroken", b"x")), entry="dummy/etc/unbroken"),
    "SymlinkMultipleRelative": refused(BELOW, layer(
        folder("etc"), folder("dummy"), symlink("/dummy/etc", "/etc"), symlink("localetc", "./dummy/etc"),
        member("/dummy/etc/unbroken", b"x")), entry="dummy/etc/unbroken"),
    "SymlinkEmptyFile": refused(BELOW, layer(
        folder("etc"), member("etc/emptied", b"notempty"), symlink("localetc", "/etc"), member("/localetc/emptied")),
        entry="localetc/emptied"),
    "HardlinkRelative": refused(NO_LINK, layer(
        ETC, PASSWD, folder("breakouts"), symlink("breakouts/d1", "../../etc"),
        hardlink("breakouts/mypasswd", "/breakouts/d1/passwd")), entry="breakouts/mypasswd"),
    "HardlinkDownAndOut": refused(NO_LINK, layer(
        ETC, PASSWD, folder("breakouts"), folder("downandout"), symlink("breakouts/d1", "../downandout/../../etc"),
        hardlink("breakouts/mypasswd", "/breakouts/d1/passwd")), entry="breakouts/mypasswd"),
    "HardlinkAbsolute": refused(NO_LINK, layer(
        ETC, PASSWD, symlink("localetc", "/etc"), hardlink("localpasswd", "/localetc/passwd")), entry="localpasswd"),
    "HardlinkRelativeLong": refused(NO_LINK, layer(
        ETC, PASSWD, symlink("localetc", "../../../../../../../etc"), hardlink("localpasswd", "/localetc/passwd")),
        entry="localpasswd"),
    "HardlinkRelativeUpAndOut": refused(NO_LINK, layer(
        ETC, PASSWD, symlink("localetc", "upandout/../../../etc"), hardlink("localpasswd", "/localetc/passwd")),
        entry="localpasswd"),
    "HardlinkDirectRelative": refused(OUT, layer(
        ETC, PASSWD, hardlink("localpasswd", "../../../../../etc/passwd")), entry="localpasswd"),
    "HardlinkDirectAbsolute": legal(layer(
        ETC, PASSWD, hardlink("localpasswd", "/etc/passwd")), lands=("etc/passwd", "localpasswd")),
    "SymlinkParentDirectory": refused(OUT, layer(
        ETC, PASSWD, symlink("..", "/etc/"), hardlink("localpasswd", "/etc/passwd")), entry=".."),
    "SymlinkEmptyFilename": refused("in place of the root", layer(
        ETC, PASSWD, symlink("", "/etc/"), hardlink("localpasswd", "/etc/passwd"))),
    "SymlinkParentRelative": refused(OUT, layer(
        ETC, PASSWD, symlink("localetc/sub/..", "/etc/"), hardlink("/localetc/localpasswd", "/etc/passwd")),
        entry="localetc/sub/.."),
    "SymlinkSlashEnded": legal(layer(
        ETC, PASSWD, folder("localetc/", b"0000770"), hardlink("/localetc/localpasswd", "/etc/passwd")),
        lands=("etc/passwd", "localetc", "localetc/localpasswd")),
    "SymlinkOverrideDirectory": refused(BELOW, layer(folder("etc"), PASSWD, folder("/localetc/")), layer(
        symlink("localetc", "/etc"), hardlink("/localetc/localpasswd", "/etc/passwd")), entry="localetc/localpasswd"),
    "SymlinkOverrideDirectoryRelative": refused(BELOW, layer(folder("etc"), PASSWD, folder("/localetc/")), layer(
        symlink("localetc", "../../etc"), hardlink("/localetc/localpasswd", "/etc/passwd")),
        entry="localetc/localpasswd"),
    "DirectoryOverrideSymlink": legal(layer(folder("etc"), PASSWD, symlink("localetc", "/etc")), layer(
        folder("/localetc/"), hardlink("/localetc/localpasswd", "/etc/passwd")),
        lands=("etc/passwd", "localetc", "localetc/localpasswd")),
    "DirectoryOverrideSymlinkAndHardlink": legal(
        layer(folder("etc"), PASSWD, symlink("localetc", "etc"), hardlink("/etc/localpasswd", "/etc/passwd")),
        layer(folder("/localetc/"), member("/localetc/localpasswd", b"different")),
        lands=("etc/passwd", "etc/localpasswd", "localetc", "localetc/localpasswd")),
    "WhiteoutRootParent": refused(NAMELESS, LOWER, layer(member(".wh...")), entry=".wh..."),
    "WhiteoutParent": refused(NAMELESS, LOWER, layer(member("etc/.wh...")), entry="etc/.wh..."),
    "WhiteoutRoot": refused(NAMELESS, LOWER, layer(member(".wh..")), entry=".wh.."),
    "WhiteoutCurrentDirectory": refused(NAMELESS, LOWER, layer(member("etc/.wh..")), entry="etc/.wh.."),
    "WhiteoutSymlink": legal(
        layer(folder("etc"), PASSWD, symlink("localetc", "/etc")), layer(member(".wh.localetc")),
        lands=("etc/passwd",)),
    "WhiteoutSymlinkPath": legal(
        layer(folder("etc"), PASSWD, member("/etc/whitedout", b"ahhhh"), symlink("localetc", "/etc")),
        layer(member("localetc/.wh.whitedout")), lands=("etc/passwd", "etc/whitedout", "localetc")),
    "WhiteoutDirectoryName": refused("reserved", LOWER, layer(member(".wh.etc/somefile", b"x")),
        entry=".wh.etc/somefile"),
    "WhiteoutDeadSymlinkParent": legal(
        layer(folder("etc"), PASSWD, symlink("localetc", "/dne")), layer(member("localetc/.wh.etc")),
        lands=("etc/passwd", "localetc")),
    "WhiteoutRelativePath": refused(OUT, LOWER, layer(member("dne/../.wh.etc")), entry="dne/../.wh.etc"),
    "HardlinkSymlinkBeforeCreateTarget": legal(layer(
        ETC, symlink("localpasswd", "/etc/passwd"), hardlink("localpasswd-dup", "localpasswd"), PASSWD),
        lands=("etc/passwd", "localpasswd", "localpasswd-dup")),
    "HardlinkSymlinkRelative": legal(layer(
        ETC, PASSWD, symlink("passwdlink", "../../../../../etc/passwd"), hardlink("localpasswd", "/passwdlink")),
        lands=("etc/passwd", "localpasswd", "passwdlink")),
    "HardlinkSymlinkAbsolute": legal(layer(
        ETC, PASSWD, symlink("passwdlink", "/etc/passwd"), hardlink("localpasswd", "/passwdlink")),
        lands=("etc/passwd", "localpasswd", "passwdlink")),
    "HardlinkSymlinkChmod": legal(layer(
        symlink("x/also-exists-outside", "../../victim/perm400"), hardlink("sketchylink", "x/also-exists-outside")),
        lands=("x", "x/also-exists-outside", "sketchylink")),
}  # fmt: skip
