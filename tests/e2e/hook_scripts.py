"""Scripts for the hook type `script`: one that does what the contract says, and those that do not."""

import os

import harness
from hook_servers import Application, Client, Threaded

# Frozen is a file; whoever releases removes it. `release` as last argument: by force.
GOOD = """#!/bin/sh
[ "$(eval echo \\${$#})" = release ] && { rm -f "STATE"; echo forced >>"STATE.log"; exit 0; }
[ -n "$FARSHORE_GROUP" ] && [ -n "$FARSHORE_BOOKMARK" ] && [ -n "$FARSHORE_TIMEOUT_MS" ] || exit 9
[ -z "$SECRET" ] || exit 8
: >"STATE"
echo "fact user $(id -un)"
echo "fact files $(ls /proc/self/fd | wc -l)"
BEFORE
echo frozen
DURING
read -r word
rm -f "STATE"
AFTER
echo "fact word $word"
echo released
END
exit CODE
"""


class Script(Application):
    """`before`, `during`, `after`, `end`: shell that goes wrong there."""

    type = "script"

    def __init__(self, context, user=None, before=":", during=":", after=":", end=":", code=0):
        super().__init__(context)
        self.directory = context.path(f"script-{len(os.listdir(context.directory))}")
        os.makedirs(self.directory)
        os.chmod(self.directory, 0o777)
        os.environ["SECRET"] = "of the sender"
        self.state, self.path, self.user = os.path.join(self.directory, "state"), self.directory + "/hook.sh", user
        text = GOOD.replace("STATE", self.state).replace("BEFORE", before).replace("DURING", during)
        text = text.replace("AFTER", after).replace("END", end).replace("CODE", str(code))
        with open(self.path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(self.path, 0o755)

    def where(self):
        return {"run": [self.path, "a b"], "user": self.user}

    def client(self):
        return Threaded(lambda: os.path.exists(self.state))

    def works(self):
        return not os.path.exists(self.state)

    def forced(self):
        return os.path.exists(self.state + ".log")


class MailStore(Application):
    """deploy/hooks/maildir.sh, and a delivery that takes its lock."""

    type = "script"

    def __init__(self, context, volume):
        super().__init__(context, volume)
        self.store = os.path.join(volume.point, "mail")
        os.makedirs(self.store + "/new")
        self.lock = self.store + "/.farshore-delivery.lock"

    def where(self):
        return {"run": [os.path.join(harness.ROOT, "deploy", "hooks", "maildir.sh"), self.store]}

    def client(self):
        return Client(["sh", "-c", 'echo mine >"$0.$$"; until ln "$0.$$" "$0" 2>/dev/null; do sleep 0.02; done; '
                       'echo mail >"$1/new/$$"; rm "$0" "$0.$$"', self.lock, self.store])
