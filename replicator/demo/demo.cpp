// The story that `farshore demo` plays. Every step either succeeds or ends the demo with its
// reason; the objects' destructors then end processes, mounts and files in the reverse order of
// their making.

#include "replicator/demo/demo.hpp"

#include "replicator/cli/json_fields.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/demo/relay.hpp"
#include "replicator/demo/report.hpp"
#include "replicator/demo/site.hpp"
#include "replicator/demo/store.hpp"
#include "replicator/demo/writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace farshore {
namespace demo {
namespace {

constexpr auto look_every = std::chrono::milliseconds(250);
constexpr double recovery_patience = 60;
constexpr double lag_when_current = 2; ///< seconds; below it the DR site counts as caught up again
/// Setting up, the last wait and the comparisons take about so long of the time asked for.
constexpr double overhead_seconds = 6;

const json group_argument{{"group", "demo"}};

result<> check(const control::outcome &o) {
    if (!o) {
        return fail(errc::invalid, o.error().message);
    }
    return {};
}

/// The demo's directory, removed at the end unless it is to be kept.
class work_directory {
  public:
    explicit work_directory(bool keep) : keep_(keep) {}
    ~work_directory() {
        if (!keep_ && !path_.empty()) {
            std::error_code ignored;
            std::filesystem::remove_all(path_, ignored);
        }
    }
    work_directory(const work_directory &) = delete;
    work_directory &operator=(const work_directory &) = delete;
    result<> make() {
        std::error_code ec;
        std::string name =
            (std::filesystem::temp_directory_path(ec) / "farshore-demo-XXXXXX").string();
        if (ec || ::mkdtemp(name.data()) == nullptr) {
            return fail_errno(errno, "temporary directory");
        }
        path_ = name;
        return {};
    }
    const std::string &path() const { return path_; }

  private:
    bool keep_;
    std::string path_;
};

class story {
  public:
    story(const demo_options &options, report &out, std::string directory)
        : options_(options), out_(out), directory_(std::move(directory)),
          sender_("sender", directory_), receiver_("receiver", directory_) {}

    result<> play(bool use_ext4);
    const summary &told() const { return summary_; }

  private:
    result<> set_up(bool use_ext4);
    result<> pair();
    result<> make_storage(bool use_ext4);
    result<> with_writers();
    result<> go_on_until(double seconds);
    result<> recover(const char *what);
    result<> cut_line(double seconds);
    result<> kill(site &daemon, const char *name);
    result<> look_at_point();
    result<> read_point(const json &opened);
    result<> finish();
    result<> compare();
    void sample();
    void compared(bool equal) {
        ++summary_.comparisons;
        summary_.comparisons_equal += equal ? 1 : 0;
    }

    const demo_options &options_;
    report &out_;
    std::string directory_;
    relay line_;
    site sender_;
    site receiver_;
    layout layout_;
    std::unique_ptr<storage> storage_;
    std::unique_ptr<writers> writers_;
    json status_; ///< of the demo's group at the sender, last seen
    double writing_began_ = 0;
    summary summary_;
};

result<> story::set_up(bool use_ext4) {
    FS_TRY(port, line_.listen());
    FS_TRY(made, make_layout(directory_, port));
    layout_ = std::move(made);
    line_.set_target(layout_.listen_port);
    FS_CHECK(receiver_.start());
    FS_CHECK(sender_.start());
    FS_CHECK(pair());
    FS_CHECK(make_storage(use_ext4));
    out_.event("volumes", fmt::format("two volumes of {} in one group; {}",
                                      format_bytes(volume_bytes), summary_.storage));
    return {};
}

result<> story::pair() {
    const std::string address = fmt::format("127.0.0.1:{}", layout_.relay_port);
    const auto invited = receiver_.ask("invite", {{"group", "demo"}, {"address", address}});
    FS_CHECK(check(invited));
    const auto joined = sender_.ask("join", {{"token", text_field(*invited, "/token")}});
    FS_CHECK(check(joined));
    out_.event(
        "paired",
        "both daemons run and are paired by a one-time token; the line between them is TLS 1.3 "
        "over a relay on " +
            address);
    return {};
}

result<> story::make_storage(bool use_ext4) {
    if (use_ext4) {
        auto made = ext4_storage(layout_.uris, directory_);
        if (made) {
            storage_ = std::move(*made);
        } else {
            out_.event("no_ext4", "no ext4 here: " + made.error().text());
        }
    }
    if (!storage_) {
        storage_ = nbd_storage(layout_.uris);
    }
    summary_.storage = storage_->description();
    return {};
}

/// Asks the sender how things stand, for the progress line and the highest lag.
void story::sample() {
    const auto answer = control::call(sender_.socket(), "status", group_argument, nullptr);
    const std::string written =
        writers_ ? fmt::format("{} written, {} on the wire", format_bytes(writers_->bytes()),
                               format_bytes(line_.bytes()))
                 : "";
    if (!answer || list_field(*answer, "/groups").empty()) {
        status_ = nullptr;
        out_.standing("sender down   " + written, {{"state", nullptr}});
        return;
    }
    status_ = list_field(*answer, "/groups").front();
    const double lag = number_field(status_, "/lag/seconds");
    summary_.lag_seconds_max = std::max(summary_.lag_seconds_max, lag);
    out_.standing(fmt::format("{}, link {}, lag {}   {}", text_field(status_, "/state", "-"),
                              flag_field(status_, "/connected") ? "up" : "down",
                              format_seconds(lag), written),
                  status_);
}

/// Lets the writers write until so many seconds of writing have passed.
result<> story::go_on_until(double seconds) {
    while (out_.seconds() - writing_began_ < seconds) {
        if (interrupted) {
            return fail(errc::cancelled, "interrupted");
        }
        if (const std::string problem = writers_->problem(); !problem.empty()) {
            return fail(errc::closed, "a writer failed: " + problem);
        }
        sample();
        std::this_thread::sleep_for(look_every);
    }
    return {};
}

/// Waits until the DR site is current again after a fault.
result<> story::recover(const char *what) {
    const double began = out_.seconds();
    for (;;) {
        sample();
        if (text_field(status_, "/state") == "streaming" && flag_field(status_, "/connected") &&
            number_field(status_, "/lag/seconds", 1e9) < lag_when_current) {
            break;
        }
        if (text_field(status_, "/state") == "failed") {
            return fail(errc::dead,
                        fmt::format("after {}: {}", what, text_field(status_, "/error")));
        }
        if (out_.seconds() - began > recovery_patience) {
            return fail(errc::timeout, fmt::format("after {} the DR site did not catch up", what));
        }
        FS_CHECK(go_on_until(out_.seconds() - writing_began_ + 0.1));
    }
    const double took = out_.seconds() - began;
    ++summary_.recoveries;
    summary_.recovery_seconds_max = std::max(summary_.recovery_seconds_max, took);
    out_.event("recovered", fmt::format("recovered from {} in {}", what, format_seconds(took)));
    return {};
}

result<> story::cut_line(double seconds) {
    out_.event("line_cut", fmt::format("cutting the line for {}", format_seconds(seconds)));
    ++summary_.line_cuts;
    line_.cut();
    const std::uint64_t before = writers_->records();
    const auto went_on = go_on_until(out_.seconds() - writing_began_ + seconds);
    line_.open();
    FS_CHECK(went_on);
    out_.event("line_open", fmt::format("the line is back; writers wrote {} records meanwhile",
                                        writers_->records() - before));
    return recover("the cut");
}

result<> story::kill(site &daemon, const char *name) {
    out_.event("kill", fmt::format("kill -9 of the {}", name));
    ++summary_.kills;
    daemon.kill();
    FS_CHECK(go_on_until(out_.seconds() - writing_began_ + 1));
    FS_CHECK(daemon.start());
    return recover(fmt::format("the {}'s death", name).c_str());
}

result<> story::read_point(const json &opened) {
    std::array<ring_content, 2> rings;
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string pointer = std::string("/uris/") + volume_names[i];
        FS_TRY(ring, storage_->read_records(i, text_field(opened, pointer.c_str()), directory_));
        rings[i] = std::move(ring);
    }
    const dependency_result found = check_dependency(rings[0], rings[1]);
    compared(found.holds);
    if (!found.holds) {
        return fail(errc::mismatch, "the opened point mixes moments: " + found.text);
    }
    out_.event("point", fmt::format("point {}: {}; the writers are at {} by now",
                                    text_field(opened, "/point"), found.text, writers_->records()));
    return {};
}

/// Opens an earlier point while replication goes on, and checks that it is one moment.
result<> story::look_at_point() {
    const auto points = receiver_.ask("points", group_argument);
    FS_CHECK(check(points));
    const json &list = list_field(*points, "/points");
    if (list.empty()) {
        return fail(errc::not_found, "the DR site has no recovery point");
    }
    json arguments{{"group", "demo"}, {"nbd", "unix:" + directory_ + "/point.sock"}};
    const std::string middle = text_field(list[list.size() / 2], "/id");
    arguments["point"] = middle;
    auto opened = receiver_.ask("open", arguments);
    if (!opened) {
        out_.event("point_refused",
                   fmt::format("point {} of {} can't be opened ({}); taking the newest", middle,
                               list.size(), opened.error().message));
        arguments["point"] = "latest";
        opened = receiver_.ask("open", arguments);
    }
    FS_CHECK(check(opened));
    const auto read = read_point(*opened);
    const auto closed = receiver_.ask("close", {{"id", text_field(*opened, "/id")}});
    FS_CHECK(read);
    return check(closed);
}

result<> story::with_writers() {
    const double total =
        std::max(8.0, static_cast<double>(options_.seconds.count()) - overhead_seconds);
    writers_ = std::make_unique<writers>(*storage_);
    writing_began_ = out_.seconds();
    writers_->start();
    out_.event("writing", "writing begins");
    FS_CHECK(go_on_until(total * 0.15));
    FS_CHECK(cut_line(total * 0.2));
    FS_CHECK(go_on_until(total * 0.45));
    FS_CHECK(kill(receiver_, "receiver"));
    FS_CHECK(go_on_until(total * 0.65));
    if (storage_->survives_sender()) {
        FS_CHECK(kill(sender_, "sender"));
    }
    FS_CHECK(go_on_until(total * 0.85));
    FS_CHECK(look_at_point());
    return go_on_until(total);
}

result<> story::compare() {
    for (std::size_t i = 0; i < 2; ++i) {
        FS_TRY(here, digest_of_file(layout_.images[i]));
        FS_TRY(there, digest_of_file(layout_.replica(i)));
        compared(here == there);
        out_.event("digest",
                   fmt::format("SHA-256 of {}: {}... at the primary, {}... at the DR site",
                               volume_names[i], here.substr(0, 16), there.substr(0, 16)),
                   {{"volume", volume_names[i]}, {"primary", here}, {"dr", there}});
    }
    return {};
}

/// Nobody writes any more: everything must arrive, and be the same.
result<> story::finish() {
    writers_->stop();
    summary_.seconds = out_.seconds() - writing_began_;
    FS_CHECK(storage_->release());
    out_.event("written", fmt::format("writing ended after {} records", writers_->records()));
    if (!storage_->survives_sender()) {
        // A file system can't live through its device's death, so the sender dies after the umount,
        // with writes that were not shipped yet.
        out_.event("kill", "kill -9 of the sender, right after the last write");
        ++summary_.kills;
        sender_.kill();
        FS_CHECK(sender_.start());
    }
    json arguments = group_argument;
    arguments["timeout_ms"] = 60'000;
    const double began = out_.seconds();
    const auto waited = sender_.ask("wait", arguments);
    FS_CHECK(check(waited));
    if (!storage_->survives_sender()) {
        ++summary_.recoveries;
        summary_.recovery_seconds_max =
            std::max(summary_.recovery_seconds_max, out_.seconds() - began);
    }
    out_.event("waited",
               fmt::format("farshore wait: point {} is durable and shown by the replicas, after {}",
                           text_field(*waited, "/point"), format_seconds(out_.seconds() - began)));
    const auto verified = sender_.ask("verify", group_argument);
    FS_CHECK(check(verified));
    compared(flag_field(*verified, "/equal"));
    FS_CHECK(compare());
    FS_CHECK(sender_.stop());
    return receiver_.stop();
}

result<> story::play(bool use_ext4) {
    auto played = [&]() -> result<> {
        FS_CHECK(set_up(use_ext4));
        FS_CHECK(with_writers());
        return finish();
    }();
    if (writers_) {
        writers_->stop();
        summary_.bytes_written = writers_->bytes();
        summary_.records = writers_->records();
    }
    summary_.bytes_wire = line_.bytes();
    if (!played) {
        summary_.failure =
            played.error().context.empty() ? played.error().text() : played.error().context;
    }
    return played;
}

void on_interrupt(int) { interrupted = true; }

} // namespace
} // namespace demo

int run_demo(const demo_options &options, const terminal &term) {
    demo::interrupted = false;
    ::signal(SIGPIPE, SIG_IGN);
    struct sigaction action{};
    action.sa_handler = demo::on_interrupt;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);

    const auto ext4 = demo::prepare_for_ext4(); // before any thread
    demo::report out(term, options.as_json);
    demo::work_directory directory(options.keep);
    if (auto made = directory.make(); !made) {
        term.err("farshore: " + made.error().text() + "\n");
        return value_of(exit_code::failed);
    }
    if (!ext4) {
        out.event("no_ext4", "without a file system: " + ext4.error().context);
    }
    demo::summary told;
    {
        demo::story story(options, out, directory.path());
        const auto played = story.play(ext4.has_value());
        static_cast<void>(played); // the summary says it
        told = story.told();
    }
    if (options.keep) {
        out.event("kept", "everything is kept in " + directory.path(),
                  {{"directory", directory.path()}});
    }
    if (demo::interrupted) {
        term.err("farshore: interrupted\n");
        return value_of(exit_code::interrupted);
    }
    out.finish(told);
    return value_of(told.equal() ? exit_code::ok : exit_code::failed);
}

} // namespace farshore
