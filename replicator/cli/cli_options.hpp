#pragma once
// The command line as values, by CLI11.

#include "replicator/cli/cli.hpp"

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace farshore {

/// `points --plan`.
struct plan_words {
    bool asked = false;
    std::string retain;
    std::string journal;
};

/// `demo`.
struct demo_words {
    bool keep = false;
    unsigned seconds = 30;
};

/// Of `open`.
struct open_words {
    std::string nbd;
    std::string mount;
    std::string space;
    bool writable = false;
    bool suspect = false;
};

/// What `export`, `import` and `restore` take besides.
struct carry_words {
    std::string volume;
    std::string to;
    std::string from;
    std::string format;
    std::string confirm;
    std::string since;
    std::string backing;
    std::uint32_t sector_bytes = 0;
    bool tar = false;
    bool no_compare = false;
    bool force = false;
};

/// Of `throttle`.
struct throttle_words {
    std::string rate;
    std::string lasts; ///< set --for
};

/// Of `report`.
struct report_words {
    std::string since = "30d";
    std::string html; ///< a file; empty: none
};

/// Of `bookmark`.
struct bookmark_words {
    std::string name;
    std::string note;
    std::string keep;
    bool app = false;
};

/// Of `test`.
struct test_words {
    std::string run;
    std::vector<std::string> arguments;
    std::string name;
    std::string user;
    bool isolate = false;
    bool mount = false;
};

/// Of `promote`, `demote` and `switchover`.
struct role_words {
    std::string confirm;
    bool force = false;
    bool discard = false;
    std::string keep;                ///< of `reverse`
    std::vector<std::string> groups; ///< of `switchover`, as the next
    std::vector<std::string> confirmed;
};

/// Of `invite`.
struct invite_words {
    bool list = false;
    std::string revoke; ///< an id
    std::string address;
};

/// What `check` takes.
struct check_words {
    std::string lag_max = "5m";
    std::string point_age_max = "1h";
    std::string test_age_max; ///< empty: rehearsals are not asked for
};

struct invocation {
    std::string command; ///< as typed: "status", "throttle set", "config check"
    std::string socket;
    bool as_json = false;

    std::string group;
    std::string point;
    open_words open;
    std::string token;
    std::string id;
    std::string file;
    std::string
        timeout; ///< of the call, and of what `wait` waits for; empty: the command's default
    check_words check;
    plan_words plan;
    demo_words demo;
    bookmark_words bookmark;
    bool watch = false;
    bool durable = false;
    bool full = false;
    bool wait = false; ///< scrub --wait
    bool applied = false;
    invite_words invite;
    carry_words carry;
    role_words role;
    test_words test;
    throttle_words throttle;
    report_words report;
};

/// Why there is nothing to run: help and version (exit 0), or a usage error.
struct parse_end {
    std::string text;
    int exit = 0;
};

std::expected<invocation, parse_end> parse_invocation(cli_program program,
                                                      const std::vector<std::string> &arguments);

} // namespace farshore
