# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from ashore.nouns.confirm import Asked, By, Confirm
from ashore.nouns.duration import duration, seconds_of
from ashore.nouns.generation import BundleRecord
from ashore.nouns.plan import Action, Step
from ashore.rules.confirm import concerned, decide


@pytest.mark.parametrize(
    ("what", "paths"),
    [
        (
            "sshd",
            (
                "etc/ssh/sshd_config etc/ssh/sshd_config.d/x.conf etc/ssh/ssh_host_rsa_key root/.ssh/authorized_keys "
                "home/me/.ssh/authorized_keys etc/systemd/system/ssh.service.d/x.conf "
                "usr/lib/systemd/system/sshd.service "
                "etc/systemd/system/ssh.socket etc/pam.d/sshd etc/default/ssh etc/hosts.allow"
            ),
        ),
        (
            "the network",
            (
                "etc/network/interfaces etc/network/interfaces.d/eth0 etc/netplan/1.yaml "
                "etc/systemd/network/10.network "
                "etc/NetworkManager/NetworkManager.conf etc/systemd/networkd.conf "
                "etc/sysconfig/network-scripts/ifcfg-eth0 "
                "etc/systemd/system/systemd-networkd.service.d/x.conf"
            ),
        ),
        (
            "the firewall",
            (
                "etc/nftables.conf etc/nftables.d/x.nft etc/iptables/rules.v4 etc/ufw/user.rules "
                "etc/firewalld/zones/x.xml "
                "etc/sysconfig/iptables etc/default/ufw etc/systemd/system/nftables.service"
            ),
        ),
        (
            "",
            (
                "etc/ssh/ssh_config etc/ssh/ssh_config.d/x.conf etc/ssh/moduli etc/nginx/nginx.conf etc/networks "
                "etc/hosts "
                "opt/etc/ssh/sshd_config etc/systemd/system/app.service home/me/.ssh/config usr/sbin/sshd "
                "etc/systemd/system/multi-user.target.wants/ssh.service"
            ),
        ),
    ],
)
def test_what_a_path_configures(what: str, paths: str) -> None:
    assert {path: concerned(path) for path in paths.split()} == dict.fromkeys(paths.split(), what)


def step(path: str, bundle: str) -> Step:
    return Step(action=Action.REPLACE, path=path, bundle=bundle)


def records(**confirm: Confirm | None) -> dict[str, BundleRecord]:
    empty = dict.fromkeys(("version", "reference", "digest", "manifest_digest", "inputs"), "")
    return {n: msgspec.convert(empty | {"name": n, "confirm": c}, BundleRecord) for n, c in confirm.items()}


SSH, APP = step("etc/ssh/sshd_config", "ssh"), step("etc/app", "app")
LOGIN = Confirm(within=60, by=By.SSH_LOGIN)


def test_what_is_asked_for_holds_whatever_bundles_say() -> None:
    bundles = records(ssh=LOGIN, app=None)
    assert decide(Asked(seconds=0), [SSH, APP], bundles, {}) is None
    assert decide(Asked(seconds=9), [APP], bundles, {}) == Confirm(within=9, reason="as asked for", bundles=("app",))
    by_login = decide(Asked(seconds=9), [SSH], bundles, {})
    assert by_login == Confirm(within=9, by=By.SSH_LOGIN, reason="as asked for", bundles=("ssh",))
    assert decide(Asked(seconds=9), [], bundles, {}) is None, "there is nothing to take back"
    both = decide(Asked(seconds=9), [SSH, APP], bundles, {})
    whole = Confirm(within=9, reason="as asked for", bundles=("app", "ssh"))
    assert both == whole, "a login counts only if it does for each"
    both = decide(Asked(seconds=9), [SSH, APP], records(ssh=LOGIN, app=LOGIN), {})
    assert both is not None and both.by is By.SSH_LOGIN


def test_of_several_the_longest_time_counts_and_a_login_only_if_it_does_for_all() -> None:
    bundles = records(ssh=LOGIN, app=Confirm(within=90))
    found = decide(Asked(), [SSH, APP], bundles, {})
    assert found == Confirm(within=90, reason="app asks for it; ssh asks for it", bundles=("app", "ssh"))
    alone = decide(Asked(), [SSH], bundles, {})
    assert alone == Confirm(within=60, by=By.SSH_LOGIN, reason="ssh asks for it", bundles=("ssh",))


def test_paths_decide_only_where_the_bundle_says_nothing() -> None:
    assert decide(Asked(), [SSH, APP], records(ssh=None, app=None), {}) == Confirm(
        within=300, reason="it changes sshd (/etc/ssh/sshd_config)", bundles=("ssh",)
    )
    assert decide(Asked(), [SSH, APP], records(ssh=Confirm(within=0), app=None), {}) is None
    assert decide(Asked(), [APP], records(ssh=LOGIN, app=None), {}) is None
    assert decide(Asked(by_paths=False), [SSH], records(ssh=None), {}) is None
    assert decide(Asked(by_paths=False), [SSH], records(ssh=LOGIN), {}) is not None
    assert decide(Asked(declared=False, by_paths=False), [SSH], records(ssh=LOGIN), {}) is None


def test_a_bundle_that_goes_is_asked_as_it_was() -> None:
    assert decide(Asked(), [APP], {}, records(app=LOGIN)) is not None
    assert decide(Asked(), [SSH], {}, records(ssh=Confirm(within=0))) is None


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("0s", 0), ("1h1m1s", 3661)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert seconds_of(duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1.5h", "5m1h"])
def test_no_times(text: str) -> None:
    assert seconds_of(text) is None
