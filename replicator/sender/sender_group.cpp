// Life of a group at the primary: open, serve, stop; and what its parts ask and tell. Commands are
// in sender_group_commands.cpp, status in sender_group_status.cpp.

#include "replicator/sender/sender_group.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

group_settings configured_settings(const sender_group_config &config) {
    group_settings s;
    s.throttle.configured = config.rate;
    return s;
}

/// Blocks.
result<std::unique_ptr<capture_group>> open_capture(const served_half &half, file_system &files,
                                                    const capture_options &options) {
    FS_TRY(opened, capture_group::open(half.files ? *half.files : files, options));
    if (half.changed && (half.changed_at_each_start || opened->start().fresh)) {
        if (const auto changed = half.changed()) {
            opened->differs_in(*changed);
        } else {
            log::warning("{}: all of it counts as changed", changed.error().text());
            opened->mark_all_dirty();
        }
    }
    return opened;
}

std::vector<std::string> volume_names(const sender_group_config &config) {
    std::vector<std::string> names;
    for (const sender_volume_config &v : config.volumes) {
        names.push_back(v.name);
    }
    return names;
}

} // namespace

sender_group::sender_group(sender_group_options options, runtime run, file_system &files,
                           network &net, std::shared_ptr<transport::pacer> daemon_pace,
                           std::vector<executor> nbd_loops)
    : options_(std::move(options)), run_(std::move(run)), files_(files), net_(net),
      daemon_pace_(std::move(daemon_pace)), pace_(std::make_shared<transport::pacer>(*run_.time)),
      nbd_loops_(std::move(nbd_loops)),
      settings_(files_, run_.disk, join_path(options_.state_directory, "group.json"),
                configured_settings(options_.config)),
      share_(options_.pool, options_.number), tasks_(run_.home) {}

sender_group::~sender_group() = default;

// ---- start and stop ----------------------------------------------------------------------------

task<result<>> sender_group::start(std::optional<pinned_peer> peer) {
    started_ = run_.time->wall();
    FS_CO_TRY(found, co_await run_on(run_.disk, [this]() -> result<group_settings> {
                  FS_CHECK(files_.make_directories(options_.state_directory));
                  return read_group_settings(files_, settings_.path(),
                                             configured_settings(options_.config));
              }));
    settings_.found(found);
    FS_CO_CHECK(co_await open_role());
    heed_role();
    FS_CO_CHECK(co_await open_stages());
    role_.awaits_contact = options_.config.start_after_contact && another_may_serve();
    heed_role();
    if (auto served = serve_nbd(); !served) {
        co_await close_nbd();
        co_return served;
    }
    loans_->join(name()); // last, since a start that failed is tried again
    apply_throttle();
    stream_->start();
    tasks_.spawn(upkeep_loop());
    site_->start(std::move(peer));
    co_return result<>{};
}

task<result<>> sender_group::open_stages() {
    capture_options capture;
    capture.state_directory = join_path(options_.state_directory, options_.half.capture);
    for (const sender_volume_config &v : options_.config.volumes) {
        capture.volumes.push_back({v.name, v.path});
    }
    capture.boot_id = options_.boot_id;
    capture.boot_began = options_.boot_began;
    capture.memory = share_.open();
    if (share_.changes()) {
        capture.more_memory = [this](std::uint64_t bytes) { return share_.more(bytes); };
    }
    capture.pages = options_.pages;
    capture.time = run_.time;
    FS_CO_TRY(opened, co_await run_on(run_.disk, [this, capture] {
                  return open_capture(options_.half, files_, capture);
              }));
    spool_options held;
    held.directory = join_path(options_.state_directory, "spool");
    held.memory_bytes_max = share_.stages().spool_bytes_max;
    held.disk_bytes_max = options_.config.spool_bytes_max;
    FS_CO_TRY(spool,
              co_await run_on(run_.disk, [this, held] { return spool::open(files_, held); }));
    pipeline_host &stream_host = *this;
    site_link_host &site_host = *this;
    const bool borrows = options_.history.index_bytes > 0;
    loans_ = std::make_unique<borrower>(options_.shared, borrows, run_, *opened);
    pipeline_options stages{name(), options_.config.interval, options_.config.verify_encoding,
                            options_.history, &share_};
    stream_ = std::make_unique<pipeline>(std::move(stages), run_, std::move(opened),
                                         std::move(spool), *loans_, stream_host);
    site_ = std::make_unique<site_link>(link_options(), run_, net_, *stream_, *loans_, site_host);
    verify_ = std::make_unique<verify_desk>(name(), volume_names(options_.config), run_, *stream_,
                                            *site_);
    bookmarks_ =
        std::make_unique<bookmark_desk>(desk_options(), run_, files_, *stream_, *site_, progress_);
    scheduled_ =
        std::make_unique<bookmark_schedule>(name(), options_.config.bookmarks, run_, *bookmarks_);
    upkeep_ = std::make_unique<volume_upkeep>(name(), run_, stream_->capture());
    co_return co_await bookmarks_->open(files_);
}

bookmark_options sender_group::desk_options() const {
    bookmark_options o;
    o.group = name();
    o.state_directory = options_.state_directory;
    for (const sender_volume_config &v : options_.config.volumes) {
        o.volumes.emplace_back(v.name, v.path);
    }
    o.hooks = options_.config.hooks;
    o.applications = options_.applications;
    return o;
}

site_link_options sender_group::link_options() const {
    site_link_options o;
    o.group = name();
    o.peer = options_.config.peer;
    o.peer_name = options_.config.peer_name;
    o.volumes = volume_names(options_.config);
    o.links = options_.links;
    o.sender = options_.sender;
    o.instance = options_.instance;
    o.trust = options_.trust;
    o.pace = {pace_, daemon_pace_};
    o.gather_offers = options_.gather_offers;
    return o;
}

result<> sender_group::serve_nbd() {
    for (std::size_t i = 0; i < options_.config.volumes.size(); ++i) {
        const sender_volume_config &v = options_.config.volumes[i];
        if (v.nbd.empty()) {
            continue; // the simulation writes to the device itself
        }
        FS_TRY(where, nbd::parse_endpoint(v.nbd));
        nbd::export_entry entry{v.name, fmt::format("{}/{}", name(), v.name),
                                device(volume_index{static_cast<std::uint16_t>(i)})};
        servers_.push_back(std::make_unique<nbd::server>(
            std::vector{std::move(entry)}, nbd_loops_,
            i < options_.volume_disks.size() ? options_.volume_disks[i] : run_.disk,
            options_.clients.value_or(nbd::default_client_bounds())));
        FS_CHECK(servers_.back()->listen(where));
        log::info("group {}: volume {} ({}) is served at {}", name(), v.name, v.path,
                  nbd::export_uri(where, v.name));
    }
    return {};
}

task<void> sender_group::close_nbd() {
    for (auto &server : servers_) {
        co_await server->close(std::chrono::seconds(2));
    }
    servers_.clear();
}

void sender_group::end_commands() {
    commands_.end();
    if (verify_) {
        verify_->end();
        bookmarks_->end(); // made together with verify_
    }
    progress_.notify_all();
}

// What was written until the end reaches the DR site if it can.
task<void> sender_group::drain(time_point until) {
    const stream_ledger &stream = stream_->ledger();
    if (!site_->connected() || !stream.recorded() || settings_->paused) {
        co_return;
    }
    stream_->cut(false, true);
    while (stream.recorded() && site_->connected() &&
           site_->ledger().durable().interval < stream.last_cut().id &&
           co_await progress_.wait_until(*run_.time, until)) {
    }
}

task<void> sender_group::stop(time_point drain_until) {
    end_commands();
    co_await close_nbd();
    co_await drain(drain_until);
    stopping_ = true;
    loans_->end();
    stream_->end();
    site_->end();
    progress_.notify_all();
    co_await site_->join();
    co_await stream_->join();
    co_await loans_->wait_ended();
    co_await tasks_.join();
    co_await scheduled_->join();
    co_await commands_.join();
    co_await bookmarks_->join();
    const auto closed =
        co_await run_on(run_.disk, [this] { return stream_->capture().close_clean(); });
    if (!closed) {
        log::warning("group {}: not stopped cleanly: {}; the next start compares the active parts "
                     "of the volumes",
                     name(), closed.error().text());
    }
}

// ---- what the parts ask and tell ---------------------------------------------------------------

bool sender_group::wants_point() const {
    return !site_->in_sync() && !site_->ledger().point_in_flight(stream_->ledger());
}

void sender_group::stream_ended() {
    site_->stream_ended();
    verify_->stream_ended();
}

void sender_group::order_lost(const std::string &why) {
    order_lost_ = why.empty() ? std::nullopt : std::optional(why);
    site_->restart("a catch-up has to begin");
    progress_.notify_all();
}

void sender_group::came_in_sync() {
    if (!settings_->ever_consistent) {
        settings_.change_now([](group_settings &s) { s.ever_consistent = true; }, tasks_,
                             fmt::format("group {}", name()));
    }
}

result<> sender_group::on_verify(const wire::verify_result &r) {
    auto taken = verify_->on_answer(r);
    progress_.notify_all();
    return taken;
}

void sender_group::session_ended(const error &reason) {
    verify_->session_ended(reason);
    progress_.notify_all();
}

// ---- upkeep ------------------------------------------------------------------------------------

task<void> sender_group::upkeep_loop() {
    while (!stopping_) {
        co_await progress_.wait_until(*run_.time,
                                      next_tick(run_.time->now(), std::chrono::seconds(1)));
        if (stopping_) {
            break;
        }
        look_for_contact();
        const wall_time now = run_.time->wall();
        if (throttle_setting after = settings_->throttle; after.expire(now)) {
            settings_.change_now([now](group_settings &s) { s.throttle.expire(now); }, tasks_,
                                 fmt::format("group {}", name()));
            apply_throttle();
        }
        scheduled_->look();
        co_await upkeep_->look(stream_->ledger().recorded());
    }
}

void sender_group::apply_throttle() {
    pace_->set_rate(view_of(settings_->throttle, run_.time->wall()).rate);
}

} // namespace farshore
