#!/usr/bin/env python3
"""What `farshore report` says of a group whose line was cut, whose rehearsals passed and failed, and whose receiver
was restarted: against what the test itself saw. And its page as a browser shows it (Chromium, headless). `--only
PART`."""

import json
import os
import subprocess
import time

import harness
import rehearsed

CUT = 6  # seconds
PAGE_SCRIPT = "<script>document.title = 'taken over'</script>"


def started(context):
    pair = harness.Pair(context, {"data": "16MiB"}, interval="200ms").start()
    pair.wait_state("streaming")
    pair.wait()
    return pair


def report(pair, *words, code=0):
    return pair.receiver.cli("report", *words, code=code)


def group_of(document):
    return next(g for g in document["groups"] if g["name"] == "shop")


def figures(context):
    begun = time.monotonic()
    pair = started(context)
    time.sleep(2)
    before = group_of(report(pair, "shop"))
    context.check(before["error"] is None and before["points"]["count"] > 0 and not before["rehearsals"],
                  f"without a rehearsal there is none: {json.dumps(before['rto'])}")
    calm = before["rpo"]["worst_seconds"] or 0
    context.check(before["rpo"]["hours"] and calm < 3, f"nothing is written: a loss would have cost {calm} s")
    load = harness.Load(pair).start(rate=50)
    time.sleep(3)
    busy = group_of(report(pair, "shop"))["rpo"]["worst_seconds"]
    context.check(busy is not None and 0 < busy < CUT, f"while it streams a loss would have cost {busy} s")

    pair.sender.cli("bookmark", "shop", "before-the-cut", "--note", "a <b>bold</b> note")
    pair.sender.cli("pause", "shop")
    time.sleep(CUT)
    pair.sender.cli("resume", "shop")
    pair.wait_state("streaming")
    pair.wait()
    after = group_of(report(pair, "shop", "--since", "1h"))
    worst = after["rpo"]["worst_seconds"]
    context.check(CUT - 1 <= worst <= CUT + 25, f"{CUT} s without shipping: at worst {worst} s")
    context.check(after["rpo"]["worst_time"] is not None, "and it says when")
    context.check([b["name"] for b in after["bookmarks"]] == ["before-the-cut"], "the bookmark is on it")

    good = rehearsed.script(context, "good", "sleep 1; echo it starts")
    bad = rehearsed.script(context, "bad", f"echo \"{PAGE_SCRIPT}\"; exit 1")
    pair.receiver.cli("test", "shop", "--run", good, "--name", "nightly")
    pair.receiver.cli("test", "shop", "--point", "before-the-cut", "--run", bad, code=1)
    done = group_of(report(pair))
    context.check(done["rto"]["passed"] == 1 and done["rto"]["failed"] == 1
                  and 1 <= done["rto"]["longest_seconds"] < 60, f"both rehearsals count: {json.dumps(done['rto'])}")
    last = done["rehearsals"][-1]
    context.check(last["bookmark"] == "before-the-cut" and not last["passed"] and PAGE_SCRIPT in last["message"],
                  "with point and last words")

    pair.receiver.cli("forget", "shop", "--point", "before-the-cut")
    pair.receiver.kill()
    time.sleep(CUT + 4)
    pair.receiver.start()
    pair.wait_state("streaming")
    pair.wait()
    kept = group_of(report(pair, "shop"))
    context.check(len(kept["rehearsals"]) == 2 and kept["rehearsals"][-1]["bookmark"] == "before-the-cut"
                  and not kept["bookmarks"], "after kill -9 rehearsals are known, that of a forgotten point, too")
    context.check(kept["rpo"]["worst_seconds"] >= CUT + 3,
                  f"and what the outage would have cost: {kept['rpo']['worst_seconds']} s")
    context.check(kept["rpo"]["watched_seconds"] <= time.monotonic() - begun - CUT,
                  "and the time in which it was down does not count as watched")
    text = pair.receiver.cli_raw("report", "shop")
    context.check(text.returncode == 0 and "RPO as measured" in text.stdout and "FAILED" in text.stdout,
                  "as text, too")
    load.finish()
    page(context, pair)


def in_chromium(context, words, url):
    profile = context.path("chromium")
    done = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                           "--disable-background-networking", "--disable-component-update", "--disable-sync",
                           "--user-data-dir=" + profile, *words, url], capture_output=True, text=True, timeout=120,
                          check=False)
    if done.returncode != 0:
        raise harness.Failed("chromium: " + done.stderr[-2000:])
    return done.stdout


def page(context, pair):
    harness.need("chromium")
    path = context.path("run", "report.html")
    report(pair, "--html", path)
    first = os.stat(path)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    context.check("http://" not in text and "https://" not in text and "url(" not in text, "the page loads nothing")
    shown = in_chromium(context, ["--dump-dom"], "file://" + path)
    context.check("<title>Recovery report</title>" in shown and "taken over" not in shown.split("<body>")[0],
                  "what a script printed is shown, not run")
    context.check("document.title" in shown and "<script" not in shown, "and it is shown")
    context.check(shown.count("<svg") == 2 and shown.count("<rect") >= 3, "both charts are drawn")
    context.check("nightly" in shown and "FAILED" in shown, "the rehearsals are on it")
    picture = context.path("run", "report.png")
    in_chromium(context, [f"--screenshot={picture}", "--window-size=1000,1400"], "file://" + path)
    context.check(os.path.getsize(picture) > 10_000, "and it can be printed")

    report(pair, "--html", path)
    context.check(os.stat(path).st_ino != first.st_ino, "one that is there is replaced as a whole")
    failed = report(pair, "--html", context.path("nosuch", "report.html"), code=1)
    context.check("nosuch" in failed["error"]["message"], f"where it can't be: {failed['error']['message']}")


def refused(context):
    pair = started(context)
    context.check("error" in report(pair, "nosuch", code=10), "no such group")
    for since in ("yesterday", "-5m", "0"):
        failed = pair.receiver.cli_raw("report", "--since=" + since)
        context.check(failed.returncode == 2 and "--since" in failed.stderr,
                      f"--since {since}: {failed.stderr.strip()}")
    wrong = pair.sender.cli_raw("report", "shop")
    context.check(wrong.returncode == 2 and "receiver has" in wrong.stderr, f"at the sender: {wrong.stderr.strip()}")
    pair.sender.cli("pause", "shop")
    long = group_of(report(pair, "shop", "--since", "4000d"))
    context.check(long["error"] is None, "more than the record reaches back is not an error")


def test(context):
    harness.run_parts(context, {"figures": figures, "refused": refused})


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
