#include "replicator/rehearsal/rehearsal.hpp"

#include "replicator/base/plain_name.hpp"
#include "replicator/carry/opening.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/control/unix_socket.hpp"
#include "replicator/rehearsal/guard.hpp"
#include "replicator/rehearsal/script_environment.hpp"
#include "replicator/rehearsal/verdict.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <pwd.h>
#include <unistd.h>

namespace farshore::rehearsal {
namespace {

using control::json;
using steady = std::chrono::steady_clock;

constexpr duration look_every = std::chrono::milliseconds(100); ///< at an interrupt
constexpr duration end_patience = std::chrono::seconds(30);     ///< for SIGKILL, with slow disks
constexpr std::int64_t step_time_max_ms = 1'000'000'000;        ///< as a receiver may tell it
constexpr std::size_t message_bytes_max = 2000; ///< the receiver keeps at most 2,048

std::unexpected<control::failure> failed(const error &e) { return std::unexpected(failure_of(e)); }
std::unexpected<control::failure> failed(std::string message) {
    return std::unexpected(control::failure{"failed", std::move(message), 1});
}

result<std::optional<script_user>> user_named(const std::string &name,
                                              std::vector<std::string> &environment) {
    if (name.empty()) {
        return std::nullopt;
    }
    errno = 0;
    const passwd *entry = ::getpwnam(name.c_str());
    if (entry == nullptr) {
        return fail(errc::invalid, fmt::format("there is no user \"{}\" here", name));
    }
    if (::geteuid() != 0 && ::geteuid() != entry->pw_uid) {
        return fail_errno(EPERM, fmt::format("only root can run a script as user \"{}\"", name));
    }
    std::erase_if(environment, [](const std::string &e) {
        return e.starts_with("HOME=") || e.starts_with("USER=") || e.starts_with("LOGNAME=");
    });
    environment.push_back(std::string("HOME=") + entry->pw_dir);
    environment.push_back("USER=" + name);
    environment.push_back("LOGNAME=" + name);
    return std::optional(script_user{name, entry->pw_uid, entry->pw_gid});
}

std::string text_of(const json &facts, const char *key) {
    const auto at = facts.is_object() ? facts.find(key) : facts.end();
    return facts.is_object() && at != facts.end() && at->is_string() ? at->get<std::string>() : "";
}

copy_facts facts_of(const carry::opening &o, const workplace &place, bool namespaces) {
    copy_facts f{o.group,
                 o.point,
                 text_of(o.facts, "time"),
                 text_of(o.facts, "kind"),
                 text_of(o.facts, "name"),
                 namespaces ? place.shown_socket() : place.socket,
                 o.mount.empty() ? ""
                 : namespaces    ? place.shown_mount()
                                 : o.mount,
                 place.directory(),
                 {}};
    for (const carry::open_volume &v : o.volumes) {
        const std::string mount = v.mount.empty() ? "" : f.mount + "/" + v.name;
        f.volumes.push_back({v.name, uri_at_socket(v.uri, f.socket), mount});
    }
    return f;
}

/// A connection on which nothing is asked: its end is the receiver's.
bool closed(int fd) {
    char byte = 0;
    const ssize_t got = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

struct course {
    verdict how;
    std::string printed;
    duration took{};
};

/// To the end of all that was started. A failure: there is no verdict.
std::expected<course, control::failure>
follow(guarded_scripts &scripts, int receiver, const request &wanted, const carry::means &with,
       const std::function<void(const std::string &)> &output) {
    const auto began = steady::now();
    verdict_maker judge;
    last_lines printed;
    std::optional<control::failure> cut;
    for (bool over = false; !over;) {
        const auto news = scripts.look(look_every, cut ? -1 : receiver);
        over = news.over;
        printed.add(news.output);
        if (output && !news.output.empty()) {
            output(news.output);
        }
        for (const std::string &line : news.told) {
            judge.hear(line);
        }
        if (!cut && with.stop()) {
            cut = failure_of(error{make_error_code(errc::cancelled), ""});
        } else if (!cut && !over && closed(receiver)) {
            cut = control::failure{"failed",
                                   "the receiver ended in the middle of the rehearsal: the script "
                                   "was killed, and nothing is noted",
                                   1};
        }
        if (cut) {
            scripts.end();
            over = scripts.wait(end_patience);
            break;
        }
    }
    if (cut) {
        return std::unexpected(std::move(*cut));
    }
    const duration took = steady::now() - began;
    return course{judge.made(wanted.timeout), printed.text(message_bytes_max), took};
}

std::string message_of(const course &c) {
    if (c.how.why.empty()) {
        return c.printed;
    }
    return c.printed.empty() ? c.how.why : c.how.why + "\n" + c.printed;
}

/// On the point. False: said, and why.
bool note(const carry::opening &o, const request &wanted, const carry::means &with,
          const course &c) {
    const bool passed = c.how.how == ending::passed;
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(c.took).count();
    json args{{"group", o.group},
              {"point", o.point},
              {"passed", passed},
              {"took_ms", ms},
              {"message", message_of(c)}};
    if (!wanted.name.empty()) {
        args["name"] = wanted.name;
    }
    const auto noted = control::call(with.socket, "note_test", args, nullptr, with.limits);
    if (!noted) {
        with.remark("the result is not noted on the point: " + noted.error().message);
    }
    return noted.has_value();
}

control::outcome document_of(const carry::opening &o, const course &c, bool recorded) {
    return json{
        {"group", o.group},
        {"point", o.point},
        {"passed", c.how.how == ending::passed},
        {"seconds",
         static_cast<double>(std::chrono::round<std::chrono::milliseconds>(c.took).count()) / 1000},
        {"message", message_of(c)},
        {"timed_out", c.how.how == ending::timed_out},
        {"recorded", recorded}};
}

control::outcome run_on(const carry::opening &o, const request &wanted, const carry::means &with,
                        const std::function<void(const std::string &)> &output) {
    const auto receiver = control::connect_to(with.socket);
    if (!receiver) {
        return failed(receiver.error());
    }
    const auto steps = steps_of(o.start);
    if (!steps) {
        return failed(steps.error());
    }
    const auto socket = o.volumes.empty() ? result<std::string>(std::string())
                                          : socket_of_uri(o.volumes.front().uri);
    if (!socket) {
        return failed(socket.error());
    }
    const bool namespaces = has_namespaces();
    if (!namespaces && wanted.isolate) {
        return failed(error{std::error_code(EPERM, std::generic_category()),
                            "--isolate needs a private network, which only root may make here"});
    }
    std::vector<std::string> around = own_environment();
    const auto user = user_named(wanted.user, around);
    if (!user) {
        return failed(user.error());
    }
    if (*user && !namespaces && (*user)->uid != ::geteuid()) {
        return failed(error{std::error_code(EPERM, std::generic_category()),
                            "--user needs namespaces, which may not be made here: the copy could "
                            "not be shown to user " +
                                wanted.user});
    }
    workplace place{{}, *socket, {}, wanted.isolate};
    for (const carry::open_volume &v : o.volumes) {
        if (!v.mount.empty()) {
            place.mounts.push_back({v.name, v.mount});
        }
    }
    const auto base = make_workplace(*user);
    if (!base) {
        return failed(base.error());
    }
    place.base = *base;
    if (*user && ::geteuid() == 0 &&
        ::chown(socket->c_str(), (*user)->uid, static_cast<gid_t>(-1)) != 0) {
        remove_workplace(place.base);
        return failed(error{std::error_code(errno, std::generic_category()),
                            "the copy's socket can't be given to user " + wanted.user});
    }
    script_plan plan{*steps,
                     wanted.run,
                     wanted.timeout,
                     environment_of(facts_of(o, place, namespaces), around),
                     place.directory(),
                     *user};
    auto scripts = guarded_scripts::start(plan, place, namespaces);
    if (!scripts) {
        remove_workplace(place.base);
        return failed(scripts.error());
    }
    const auto c = follow(**scripts, receiver->get(), wanted, with, output);
    if (!c) {
        return std::unexpected(c.error());
    }
    if (c->how.how == ending::trouble || c->how.how == ending::none) {
        return failed(c->how.why);
    }
    return document_of(o, *c, note(o, wanted, with, *c));
}

} // namespace

result<std::vector<start_step>> steps_of(const json &told) {
    const auto bad = [] {
        return fail(errc::corrupt, "the receiver's list of steps can't be read; are CLI and daemon "
                                   "of one version?");
    };
    std::vector<start_step> steps;
    if (told.is_null()) {
        return steps;
    }
    if (!told.is_array() || told.size() > limits::start_steps_max) {
        return bad();
    }
    const auto words = [](const json &step, const char *key) {
        std::vector<std::string> all;
        const auto at = step.find(key);
        if (at != step.end() && at->is_array()) {
            for (const json &w : *at) {
                all.push_back(w.is_string() ? w.get<std::string>() : "");
            }
        }
        return all;
    };
    for (const json &t : told) {
        if (!t.is_object()) {
            return bad();
        }
        start_step s;
        s.name = text_of(t, "name");
        s.run = words(t, "run");
        s.probe = words(t, "probe");
        const auto ms = t.find("timeout_ms");
        if (!is_plain_name(s.name) || s.run.empty() || ms == t.end() || !ms->is_number_integer() ||
            ms->get<std::int64_t>() < 0 || ms->get<std::int64_t>() > step_time_max_ms) {
            return bad();
        }
        s.timeout = std::chrono::milliseconds(ms->get<std::int64_t>());
        steps.push_back(std::move(s));
    }
    return steps;
}

control::outcome run(const request &wanted, const carry::means &with,
                     const std::function<void(const std::string &)> &output) {
    return carry::with_opening(wanted.from, with, [&](const carry::opening &o) {
        auto done = run_on(o, wanted, with, output);
        // Hanging up would close it, too, some time later.
        const auto gone = control::call(with.socket, "close", {{"id", o.id}}, nullptr, with.limits);
        if (!gone && done) {
            with.remark("the copy is not closed yet: " + gone.error().message);
        }
        return done;
    });
}

} // namespace farshore::rehearsal
