#!/usr/bin/env python3
"""Who may be a group's sender or receiver, with pinned certificates and under a site's CA.

    tests/e2e/trust.py [--only pinned|ca]
"""

import os
import re
import signal
import subprocess
import sys
import time

import harness


def token_of(pair):
    return pair.receiver.cli("invite", pair.group, "--address", pair.address)["token"]


def secret_token(context, pair):
    """`join` reads the token from its standard input, so nobody finds it among the processes."""
    token = token_of(pair)
    process = harness.popen([harness.find("farshore"), "--socket", pair.sender.control, "--json", "join"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    context.check(b"join" in words and not any(b"farshore1." in w for w in words),
                  "the token stands in no command line")
    out, err = process.communicate(token + "\n", timeout=60)
    context.check(process.returncode == 0 and "warning" not in err and pair.group in out,
                  "join took it from standard input")
    pair.sender.cli("unpair", pair.group)
    pair.receiver.cli("unpair", pair.group)
    nothing = pair.sender.cli_raw("join")
    context.check(nothing.returncode == 2 and "no token" in nothing.stderr, "without a token join says so")


def invitations(context, pair):
    token = token_of(pair)
    listed = pair.receiver.cli("invite", "--list")["invitations"]
    context.check(len(listed) == 1 and listed[0]["group"] == pair.group and "expires" in listed[0]
                  and token not in str(listed), f"invite --list names it without the token: {listed}")
    pair.receiver.cli("invite", "--revoke", "nosuch", code=10)
    pair.receiver.cli("invite", "--revoke", listed[0]["id"])
    context.check(pair.receiver.cli("invite", "--list")["invitations"] == [], "a revoked one is no longer listed")
    refused = pair.sender.cli("join", code=None, given=token)
    context.check("error" in refused, f"nor taken: {refused.get('error', {}).get('message')}")
    warned = pair.sender.cli_raw("join", token_of(pair))
    context.check(warned.returncode == 0 and "every user of this host" in warned.stderr,
                  "a token among the arguments works, with a warning")
    left = token_of(pair)
    pair.receiver.cli("unpair", pair.group)
    pair.sender.cli("unpair", pair.group)
    context.check(pair.receiver.cli("invite", "--list")["invitations"] == [],
                  "unpair ends the invitations of its group")
    refused = pair.sender.cli("join", code=None, given=left)
    context.check("error" in refused, "a token from before unpair is refused")
    pair.receiver.cli("invite", pair.group, "--address", "dr.example.net:0", code=2)


def pinned(context):
    pair = harness.Pair(context, {"data": 4 << 20}, trust="pinned")
    pair.start(join=False)
    secret_token(context, pair)
    invitations(context, pair)
    pair.join()
    pair.wait_state("streaming")
    for daemon in (pair.sender, pair.receiver):
        daemon.process.send_signal(signal.SIGHUP)
    pair.wait()
    context.check(pair.sender.running and pair.receiver.running, "SIGHUP ends no daemon")
    pair.sender.stop()
    pair.receiver.stop()


def reload(daemon):
    before = daemon.log_text().count("[tls]: read again")
    daemon.process.send_signal(signal.SIGHUP)
    harness.retry(15, "files of [tls] read again", lambda: daemon.log_text().count("[tls]: read again") > before)


def impostor(context, pair):
    """Another certificate of the same CA answers at the DR site's address."""
    pair.receiver.stop()
    pair.ca.certificate("printer", ["DNS:printer.test"])
    with open(pair.receiver.config, encoding="utf-8") as file:
        text = file.read()
    text = text.replace("receiver-state", "printer-state")
    text = text.replace(context.path("replica"), context.path("printer-replica"))
    text = text.replace(pair.ca.path("dr."), pair.ca.path("printer."))
    other = harness.Daemon(context, "receiver", context.path("printer.toml"), pair.receiver.control, name="printer")
    harness.write_text(other.config, text)
    other.start()
    harness.retry(20, "the sender says why", lambda: "not for" in str(pair.status()["error"]))
    context.check("printer.test" in pair.status()["error"], f"refused: {pair.status()['error']}")
    time.sleep(1)
    context.check("session with" not in other.log_text()
                  and not os.path.exists(context.path("printer-replica", "data.img"))
                  and not pair.status()["connected"], "it got no byte of the volume")
    context.check(pair.sender.cli_raw("check").returncode != 0, "check is not OK")
    other.stop()
    pair.receiver.start()
    pair.wait_state("streaming")


def foreign_sender(context, pair):
    """A sender with a certificate of the CA, and with no right to the group."""
    pair.ca.certificate("intern", ["DNS:intern.test"])
    with open(pair.sender.config, encoding="utf-8") as file:
        text = file.read()
    harness.make_image(context.path("primary", "stolen.img"), 4 << 20)
    text = text.replace("sender-state", "intern-state").replace("sender.sock", "intern.sock")
    text = text.replace(pair.primary("data"), context.path("primary", "stolen.img")).replace("data.nbd", "stolen.nbd")
    text = text.replace(pair.ca.path("primary."), pair.ca.path("intern."))
    thief = harness.Daemon(context, "sender", context.path("intern.toml"), context.path("run", "intern.sock"),
                           name="intern")
    harness.write_text(thief.config, text)
    thief.start()
    seen = []

    def refused():
        seen[:] = [str(thief.cli("status")["groups"][0]["error"])]
        return "another sender's" in seen[0]
    harness.retry(20, "the other sender is refused", refused)
    context.check(pair.status()["connected"], f"another sender of the CA is refused: {seen[0][:100]}")
    thief.stop()


def renewal(context, pair):
    """Certificates are replaced under the running daemons."""
    pids = (pair.sender.process.pid, pair.receiver.process.pid)
    before = pair.receiver.cli("peers")["peers"][0]["fingerprint"]
    pair.ca.certificate("primary", ["DNS:primary.test"], days=10)
    pair.ca.certificate("dr", ["DNS:dr.test", "IP:127.0.0.1"])
    reload(pair.sender)
    reload(pair.receiver)
    pair.receiver.stop()
    pair.receiver.start()
    pair.wait_state("streaming")
    pair.wait()
    context.check(pair.sender.process.pid == pids[0], "renewed without a restart of the sender")
    now = pair.receiver.cli("peers")["peers"][0]["fingerprint"]
    context.check(now != before, "the receiver knows the new certificate of the same sender")
    done = pair.sender.cli_raw("check")
    status = pair.status()
    context.check(not any("ends at" in w for w in status["warnings"]) or done.returncode == 1,
                  f"check warns of what ends soon: {done.stdout.strip()[:150]}")
    harness.write_text(pair.ca.path("primary.key"), "broken")
    pair.sender.process.send_signal(signal.SIGHUP)
    harness.retry(15, "a broken key is told", lambda: any("can't be used" in w for w in pair.status()["warnings"]))
    pair.wait()
    context.check(pair.status()["state"] == "streaming", "files that can't be used leave what was")
    pair.ca.certificate("primary", ["DNS:primary.test"])
    reload(pair.sender)


def revoked(context, pair):
    pair.ca.revoke("primary")
    reload(pair.receiver)
    harness.retry(20, "the revoked sender is refused", lambda: "revoked" in pair.receiver.log_text())
    harness.retry(20, "the session has ended", lambda: not pair.status()["connected"])
    context.check(re.search("refused our certificate|refused", str(pair.status()["error"])),
                  f"revoked: {pair.status()['error'][:120]}")
    pair.ca.certificate("primary", ["DNS:primary.test"])
    reload(pair.sender)
    pair.wait_state("streaming")
    pair.compare("with a new certificate it goes on, and the sites are equal")


def site_ca(context):
    harness.need("openssl")
    pair = harness.Pair(context, {"data": 4 << 20}, trust="ca")
    pair.ca.use_crl()
    pair.write_configs()
    pair.start()
    pair.wait_state("streaming")
    impostor(context, pair)
    foreign_sender(context, pair)
    renewal(context, pair)
    revoked(context, pair)
    pair.write_configs(group_lines='peer_name = "dr.test"')
    pair.sender.stop()
    pair.sender.start()
    pair.wait_state("streaming")
    context.check(pair.status()["connected"], "peer_name may stand for the address in `peer`")
    pair.sender.stop()
    pair.receiver.stop()


def test(context):
    harness.run_parts(context, {"pinned": pinned, "ca": site_ca})


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
