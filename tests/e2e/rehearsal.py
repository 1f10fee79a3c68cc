#!/usr/bin/env python3
"""Rehearsals, with real daemons: scripts that pass, fail, hang, fill their space, want a port that is taken, leave
daemons behind, run as another user; a CLI and a receiver that are killed in the middle; a schedule and a runbook;
mounted copies. After each of them nothing may be left: no process, mount, loop device, network namespace, directory,
socket or overlay. `--only scripts`, `ends`, `schedule`, `steps`, `mounted`."""

import os
import signal
import socket
import subprocess
import sys
import time

import harness
import mounts
from rehearsed import Traces, can_mount, make_file_system, processes, script, started, tests_of, workplaces


def scripts(context):
    """Scripts of every kind."""
    harness.need_root()
    harness.need("qemu-io", "ip")
    word = f"7{os.getpid()}"
    pair = started(context)
    traces = Traces(context, pair, "sleep " + word)
    say = script(context, "say", """
echo "group $FARSHORE_GROUP point $FARSHORE_POINT kind $FARSHORE_POINT_KIND volumes $FARSHORE_VOLUMES argument $1"
test -S "$FARSHORE_NBD_SOCKET" && test -z "$(ls -A "$FARSHORE_DIR")" && test "$(pwd)" = "$FARSHORE_DIR" || exit 9
test -z "$FARSHORE_MOUNT" && test -z "$(cat)" || exit 8
qemu-io -f raw -c "write -P 7 0 1M" -c "read -P 7 0 1M" -c flush "$FARSHORE_URI_DATA" >/dev/null || exit 7
qemu-io -f raw -r -c "read 0 4k" "$FARSHORE_URI_MY_WAL" >/dev/null || exit 6
touch here
""")
    done = pair.receiver.cli("test", "shop", "--run", say, "--arg", "a b", "--name", "by-hand")
    context.check(done["passed"] and done["recorded"] and not done["timed_out"] and done["seconds"] > 0,
                  f"a script that is good passes: {done['message']}")
    context.check(done["message"] == f"group shop point {done['point']} kind interval volumes data my-wal argument a b",
                  "its last lines are the message, and it was told what it runs on")
    noted = tests_of(pair, done["point"])
    context.check(len(noted) == 1 and noted[0]["passed"] and noted[0]["name"] == "by-hand"
                  and noted[0]["message"] == done["message"], f"the point has it: {noted}")
    last = pair.status(pair.receiver)["last_test"]
    context.check(last["passed"] and last["point"] == done["point"] and last["last_passed"] == last["time"],
                  f"and the status: {last}")
    context.check(pair.receiver.cli("check", "--max-test-age", "1h")["code"] == 0, "check is content")
    table = pair.receiver.cli_raw("points", "shop").stdout
    context.check("passed " + noted[0]["time"] in table, "the table of points shows it")
    traces.none("a script that passes")

    bad = script(context, "bad", "for i in $(seq 200); do echo line $i; done; echo 'this is broken' >&2; exit 3\n")
    failed = pair.receiver.cli("test", "shop", "--run", bad, code=1)
    context.check(not failed["passed"] and failed["message"].startswith("the script ended with 3\n")
                  and failed["message"].endswith("line 200\nthis is broken"), "one that fails says how, and its end")
    context.check(pair.receiver.cli("check", code=1)["code"] == 1, "check warns that the last one failed")
    context.check(pair.receiver.cli("check", "--max-test-age", "1ms", code=2)["code"] == 2,
                  "and is critical when none passed in time")
    traces.none("a script that fails")

    hang = script(context, "hang", f"trap '' TERM HUP\necho begun\nsetsid sleep {word} &\nsleep {word}\n")
    late = pair.receiver.cli("test", "shop", "--run", hang, "--timeout", "1s", code=15)
    context.check(late["timed_out"] and "did not end within 1 s" in late["message"]
                  and late["message"].endswith("begun"), f"one that hangs is killed: {late['message']!r}")
    traces.none("a script that hangs")

    leaves = script(context, "leaves", f"(setsid sleep {word} >/dev/null 2>&1 &)\nnohup sleep {word} &\necho ok\n")
    context.check(pair.receiver.cli("test", "shop", "--run", leaves)["passed"], "one that leaves daemons passes")
    traces.none("a script that leaves daemons")

    endless = script(context, "endless", "head -c 30000000 /dev/zero | tr '\\0' y\necho\necho the end\n")
    much = pair.receiver.cli("test", "shop", "--run", endless)
    context.check(much["message"].endswith("the end") and len(much["message"]) <= 2048, "output is bounded")
    traces.none("a script that prints 30 MB")

    full = script(context, "full", """
qemu-io -f raw -c "write -P 1 0 32M" -c flush "$FARSHORE_URI_DATA" 2>&1 | tee out
grep -q "No space left" out && exit 5
""")
    filled = pair.receiver.cli("test", "shop", "--run", full, "--space", "4MiB", code=1)
    context.check("ended with 5" in filled["message"] and "No space left" in filled["message"],
                  "one that fills its space is told so")
    traces.none("a script that fills its space")
    pair.compare("and the copy is as the primary")

    isolated(context, pair, traces)
    other_user(context, pair, traces)
    refusals(context, pair, traces, say)


def isolated(context, pair, traces):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        binds = script(context, "binds", f"""
python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", {port})); s.listen(); print("bound")' || exit 4
""")
        outside = pair.receiver.cli("test", "shop", "--run", binds, code=1)
        context.check("in use" in outside["message"], "a port that is taken is taken")
        context.check(pair.receiver.cli("test", "shop", "--run", binds, "--isolate")["passed"], "isolated it is free")
        reaches = script(context, "reaches", f"""
test "$(ip -o link | wc -l)" = 1 || exit 3
(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && exit 2
qemu-io -f raw -r -c "read 0 4k" "$FARSHORE_URI_DATA" >/dev/null
""")
        context.check(pair.receiver.cli("test", "shop", "--run", reaches, "--isolate")["passed"],
                      "nothing but lo is there, the port is out of reach, and the copy is in reach")
    traces.none("isolated scripts")


def other_user(context, pair, traces):
    name = "nobody"
    as_user = script(context, "as-user", """
test "$(id -un)" = nobody && test "$USER" = nobody || exit 9
touch here && cd "$FARSHORE_DIR" || exit 8
qemu-io -f raw -c "write -P 7 0 4k" "$FARSHORE_URI_DATA" >/dev/null || exit 7
ls /var/lib/farshore-of-nobody 2>/dev/null; ls "$(dirname "$0")"/receiver-state >/dev/null 2>&1 && exit 6
exit 0
""")
    done = pair.receiver.cli("test", "shop", "--run", as_user, "--user", name)
    context.check(done["passed"], f"one under another user reaches the copy, and nothing of ours {done['message']}")
    wrong = pair.receiver.cli("test", "shop", "--run", as_user, "--user", "no-such-user", code=2)
    context.check("no user" in wrong["error"]["message"], "a user that is not there is refused")
    traces.none("scripts under another user")


def refusals(context, pair, traces, good):
    points = len(pair.receiver.cli("points", "shop")["points"])
    for words, code, said in (
            (["--run", "/no/such"], 2, "no program"), (["--run", good, "--point", "999999"], 10, "keeps no point"),
            (["--run", good, "--point", "latest-app"], 10, "applications agreed to"),
            (["--run", good, "--space", "1B"], 2, "--space"), (["--run", good, "--timeout", "never"], 2, "--timeout")):
        error = pair.receiver.cli("test", "shop", *words, code=code)["error"]["message"]
        context.check(said in error, f"refused: {error}")
    not_a_program = context.path("text")
    harness.write_text(not_a_program, "#!/no/such/interpreter\n")
    os.chmod(not_a_program, 0o755)
    error = pair.receiver.cli("test", "shop", "--run", not_a_program, code=1)["error"]["message"]
    context.check("can't be run" in error and len(pair.receiver.cli("points", "shop")["points"]) >= points,
                  f"what the system can't run says nothing of the copy: {error}")
    error = pair.receiver.cli("test", "none", "--run", good, code=10)["error"]["message"]
    context.check("no group" in error, f"refused: {error}")
    traces.none("what was refused")


def begin(context, pair, path, *words):
    """`farshore test` in the background."""
    return harness.popen([harness.find("farshore"), "--socket", pair.receiver.control, "--json", "test", "shop",
                          "--run", path, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ends(context):
    """The CLI and the receiver are ended in the middle."""
    harness.need_root()
    word = f"6{os.getpid()}"
    pair = started(context)
    mounted = can_mount()
    if mounted:
        make_file_system(context, pair)
    else:
        context.say("without --mount: it can't be done here")
    traces = Traces(context, pair, "sleep " + word)
    flag = context.path("flag")
    stays = script(context, "stays", f"(setsid sleep {word} &) ; echo up > {flag}\nsleep {word}\n")
    words = ["--isolate"] + ["--mount"] * mounted

    def middle():
        if os.path.exists(flag):
            os.unlink(flag)
        process = begin(context, pair, stays, *words)
        harness.retry(30, "the script runs", lambda: os.path.exists(flag) or process.poll() is not None)
        if process.poll() is not None:
            raise harness.Failed("farshore test: " + str(process.communicate()))
        return process

    for how, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        process = middle()
        process.send_signal(how)
        out, _ = process.communicate(timeout=40)
        context.check(process.returncode == code, f"{how.name} to the CLI: exit {process.returncode} {out.strip()}")
        traces.none(how.name + " to the CLI", patience=0 if how != signal.SIGKILL else 15)
    context.check(pair.status(pair.receiver)["last_test"] is None, "none of them counts as a rehearsal")

    process = middle()
    begun = time.monotonic()
    pair.receiver.kill()
    out, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - begun
    context.check(process.returncode == 1 and "receiver ended" in out,
                  f"kill -9 of the receiver: the CLI ends after {seconds:.1f} s, {process.returncode}, {out.strip()}")
    context.check(not processes("sleep " + word) and workplaces() <= traces.places, "and killed the script")
    pair.receiver.start()
    harness.retry(40, "the group is served", lambda: pair.status(pair.receiver)["state"] == "following")
    traces.none("its next start", patience=20)

    process = middle()
    context.check(pair.receiver.stop() == 0, "the receiver stops in order in the middle of one")
    process.communicate(timeout=60)
    context.check(process.returncode == 1, f"the CLI ends: exit {process.returncode}")
    pair.receiver.start()
    harness.retry(40, "the group is served", lambda: pair.status(pair.receiver)["state"] == "following")
    traces.none("a stop in order", patience=20)
    pair.compare()


def schedule(context):
    """[[group.test]] of the configuration."""
    harness.need_root()
    log = context.path("ran")
    good = script(context, "good", f"echo $FARSHORE_POINT $(date +%s.%N) >> {log}; sleep 1\n")
    lines = (f'[[group.test]]\nname = "often"\nevery = "3s"\nrun = ["{good}", "-x"]\nisolate = true\n'
             f'[[group.test]]\nname = "app"\nevery = "1h"\npoint = "latest-app"\nrun = ["{good}"]\n')
    pair = started(context, receiver_group_lines=lines)
    word = good
    traces = Traces(context, pair, word)

    def runs():
        if not os.path.exists(log):
            return []
        with open(log, encoding="ascii") as file:
            return [float(line.split()[1]) for line in file if len(line.split()) == 2]

    harness.retry(60, "three rehearsals", lambda: len(runs()) >= 3)
    first = runs()
    gaps = [b - a for a, b in zip(first, first[1:])]
    context.check(all(gap >= 2.5 for gap in gaps), f"one every 3 s, never two at once: {gaps}")
    last = pair.status(pair.receiver)["last_test"]
    context.check(last and last["passed"], f"noted: {last}")
    tests = [t for p in pair.receiver.cli("points", "shop")["points"] for t in p["tests"]]
    context.check(tests and {t["name"] for t in tests} == {"often"}, f"{len(tests)} results on points")
    context.check('rehearsal "app" could not be run' in pair.receiver.log_text()
                  and "applications agreed to" in pair.receiver.log_text(), "one without its point is said in the log")
    told = pair.receiver.cli("report", "shop")["groups"][0]
    missed = [r for r in told["rehearsals"] if r["result"] == "not_run"]
    context.check([r["test"] for r in missed] == ["app"] and missed[0]["point"] is None
                  and "applications agreed to" in missed[0]["message"] and told["rto"]["not_run"] == 1,
                  "and in the report")

    context.check(pair.receiver.stop() == 0, "a stop ends one that runs")
    traces.none("a stop", patience=5)
    before = len(runs())
    time.sleep(7)  # two are missed
    pair.receiver.start()
    harness.retry(30, "one is caught up", lambda: len(runs()) > before)
    time.sleep(2)
    context.check(len(runs()) == before + 1, "what was missed is caught up once")

    pair.receiver.kill()
    pair.write_configs(receiver_group_lines="")
    pair.receiver.start()
    traces.none("a kill", patience=20)
    pair.compare()


def steps(context):
    """[[group.start]]: what a rehearsal starts before its script."""
    harness.need_root()
    log = context.path("order")
    server = script(context, "server", f"""
exec 2>/dev/null
trap 'echo stop $1 >> {log}; exit 0' TERM
echo start $1 >> {log}; touch "$FARSHORE_DIR/$1.up"
while :; do sleep 0.1; done
""")
    probe = script(context, "probe", 'test -e "$FARSHORE_DIR/$1.up"\n')
    lines = "".join(f'[[group.start]]\nname = "{name}"\nrun = ["{server}", "{name}"]\n'
                    f'probe = ["{probe}", "{name}"]\ntimeout = "20s"\n' for name in ("db", "web"))
    pair = started(context, receiver_group_lines=lines)
    traces = Traces(context, pair, server)
    test = script(context, "test", f'ls "$FARSHORE_DIR"; echo test >> {log}\n')
    done = pair.receiver.cli("test", "shop", "--run", test)
    with open(log, encoding="ascii") as file:
        order = file.read().split("\n")[:-1]
    context.check(done["passed"] and done["message"].split() == ["db.up", "web.up"]
                  and order == ["start db", "start web", "test", "stop web", "stop db"], f"in order: {order}")
    traces.none("a runbook")
    pair.receiver.stop()
    pair.write_configs(receiver_group_lines=lines.replace(f'"{probe}", "web"', '"/bin/false"').replace("20s", "2s"))
    pair.receiver.start()
    pair.wait_state("following", daemon=pair.receiver)
    failed = pair.receiver.cli("test", "shop", "--run", test, code=1)
    context.check(failed["message"].startswith('step "web" no probe passed in time')
                  and not failed["timed_out"], f"a step that fails is named: {failed['message']}")
    traces.none("a runbook that fails")


def mounted(context):
    """--mount."""
    mounts.need()
    pair = started(context)
    primary = make_file_system(context, pair)
    traces = Traces(context, pair, "receiver-state")
    looks = script(context, "looks", """
test "$FARSHORE_MOUNT_DATA" = "$FARSHORE_MOUNT/data" && test -z "$FARSHORE_MOUNT_MY_WAL" || exit 9
test "$(cat "$FARSHORE_MOUNT_DATA/kept")" = precious || exit 8
rm "$FARSHORE_MOUNT_DATA/kept" && echo changed > "$FARSHORE_MOUNT_DATA/new" || exit 7
cd "$FARSHORE_MOUNT_DATA" && sleep 1000 & # keeps it busy
mkdir own && mount -t tmpfs own own
""")
    done = pair.receiver.cli("test", "shop", "--run", looks, "--mount")
    context.check(done["passed"], f"the file systems are there to be used {done['message']}")
    traces.none("a mounted copy that was in use")
    again = pair.receiver.cli("test", "shop", "--run", looks, "--mount", "--point", done["point"], "--isolate")
    context.check(again["passed"] and len(tests_of(pair, done["point"])) == 2, "the point is as it was, for the next")
    traces.none("mounted and isolated")
    reads = script(context, "reads", 'test "$(id -un)" = nobody && ls "$FARSHORE_MOUNT_DATA" && exit 0; exit 1\n')
    user = pair.receiver.cli("test", "shop", "--run", reads, "--mount", "--user", "nobody")
    context.check(user["passed"], "another user sees them, too")
    traces.none("mounted for another user")
    primary.unmount()


def test(context):
    harness.run_parts(context, {"scripts": scripts, "ends": ends, "schedule": schedule, "steps": steps,
                                "mounted": mounted})


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
