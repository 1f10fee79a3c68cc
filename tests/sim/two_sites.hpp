#pragma once
// Two sites in one thread: disks, a line, a clock, both daemons, a writer and the judge; all drawn
// from a seed. A third of the seeds have two groups, whose volumes share content, so that loans
// happen between them; each group is judged by its own order of writes.

#include "replicator/failover/served_groups.hpp"
#include "replicator/failover/turned_groups.hpp"
#include "replicator/receiver/receiver.hpp"
#include "replicator/receiver/receiver_access.hpp"
#include "replicator/sender/hooks.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/sender/sender_access.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/own_clock.hpp"
#include "tests/sim/sim_network.hpp"
#include "tests/support/sector_model.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace farshore::sim {

/// A promise was broken; the message says which. Caught by the runner, which prints the seed.
struct broken_promise {
    std::string what;
};

constexpr std::int64_t stamp_epoch = 1'700'000'000'000'000'000; ///< ns, of the DR site's files

constexpr const char *volume_names[] = {"data", "wal", "tmp"};

/// One group, and what is known of it.
struct replicated_group {
    replicated_group(std::size_t n, std::string called, std::vector<std::uint64_t> volume_sizes)
        : number(n), name(std::move(called)), sizes(std::move(volume_sizes)), truth(sizes) {}
    std::string primary_path(std::size_t v) const {
        return "/srv/" + name + "-" + volume_names[v] + ".img";
    }
    std::string replica_path(std::size_t v) const {
        return "/srv/replica-" + name + "/" + volume_names[v] + ".img";
    }

    std::size_t number; ///< its place in both configurations
    std::string name;
    std::vector<std::uint64_t> sizes; ///< of its volumes
    oracle truth;
    std::uint64_t durable_sequence =
        0; ///< of the newest barrier that a wait was told to be durable, on this copy
    /// The DR site's state alone was put back to this moment, and the images were written soon
    /// after it: by their times these are own writes of a crash (replica/image_cases.hpp, "left
    /// unproved"), and only the sender knows better.
    std::optional<time_point> only_sender_knows;
    std::uint64_t newest_of_before = 0; ///< barrier, then
    bool spoilt_once = false;           ///< a byte of its history flipped
    bool history_spoilt = false;        ///< and no scrub came to its end since
};

struct two_sites_options {
    std::uint64_t seed = 1;
    bool verbose = false;
};

class two_sites {
  public:
    explicit two_sites(two_sites_options options);
    ~two_sites();

    /// One whole life: pair, load and faults by dice, heal, wait, compare. Throws broken_promise.
    void run();
    /// Folds everything observable of the run into one number: equal seeds must give equal traces.
    std::uint64_t trace() const { return trace_; }
    /// Content of one group was copied for the other at the DR site.
    bool lent();
    /// Of a group at the DR site: stretches at the end, and whether some were merged.
    struct packed_history {
        std::size_t stretches = 0;
        bool merged = false;
    };
    packed_history packed();
    /// Points that were read under the name of their bookmark.
    std::uint64_t bookmarks_judged() const { return bookmarks_judged_; }
    /// Rehearsals that were found in the record, each time one was looked for.
    std::uint64_t rehearsals_judged() const { return rehearsals_judged_; }

  private:
    // hosts
    void start_sender();
    void start_receiver();
    void end_sender();
    void end_receiver();
    void stop_sender_within(duration drain);
    void stop_receiver_within(duration drain);
    void pair();
    // one step of the dice
    void step();
    void some_writes();
    void one_write();
    void copy_over(replicated_group &g, std::size_t v, block_device &device);
    void write_failed(replicated_group &g, const error &why);
    void crash_sender();
    void crash_receiver();
    // what befalls the primary's storage while nobody looks (two_sites_rollback.cpp)
    void remember_primary();
    void primary_disaster();
    void put_primary_back();
    void put_volumes_back();
    void put_state_back();
    void clone_takes_over();
    void shut_file_system_down();
    void write_behind_its_back();
    void spoil_a_sector();
    void heal_sectors();
    void stop_sender();
    void kill_sender();
    void boot_primary();
    void disturb_line();
    void calm_line();
    void disturb_disk();
    // disasters at the DR site (two_sites_disasters_dr.cpp)
    void dr_disaster();
    void dr_put_back(bool state, bool images);
    bool written_soon_after(const replicated_group &g);
    void dr_lose_image(replicated_group &g);
    void dr_lose_catalogue(replicated_group &g);
    void dr_bad_images(const replicated_group &g);
    void put_back(const std::string &path);
    void dr_spoil_history(replicated_group &g);
    void stop_receiver(bool in_order);
    void command();
    void set_clocks();
    void disturb_clock();
    // two_sites_scrub.cpp
    void scrub_step();
    void scrub(replicated_group &g);
    // points kept by hand (two_sites_points.cpp)
    void keep_points();
    void judge_kept_points();
    // bookmarks (two_sites_bookmarks.cpp)
    class sim_applications;
    static constexpr std::size_t hooks_of_a_group = 2;
    struct known_bookmark {
        std::string name;
        std::size_t group = 0;
        std::uint64_t barrier = 0; ///< 0: nobody was told
        std::uint64_t first = 0;   ///< writes that it stands for
        std::uint64_t last = 0;
        std::string kind;
        bool durable = false; ///< so it was told
        bool judged = false;
    };
    std::uint64_t roll_bookmarks(std::uint64_t n);
    bool has_bookmarks() const;
    std::shared_ptr<application_host> applications();
    replicated_group &group_named(const std::string &name);
    void application_write(replicated_group &g);
    void bookmark_step();
    void judge_bookmarks();
    void judge_label(const replicated_group &g, const point_info &p);
    // rehearsals (two_sites_rehearsals.cpp)
    struct known_rehearsal {
        std::size_t group = 0;
        std::string name;
        std::string point;
        bool passed = false;
    };
    std::uint64_t roll_rehearsals(std::uint64_t n);
    void rehearsal_step();
    void rehearse(replicated_group &g);
    bool rehearsal_is_cut_off();
    void judge_record();
    // points that are open (two_sites_openings.cpp)
    struct modelled_opening {
        std::string id;
        bool writable = false;
        std::vector<test::sector_model> volumes;
        bool restarted = false;   ///< since it was read last
        bool recorded = true;     ///< false: opened on a full disk, and no more was seen of it
        bool may_be_gone = false; ///< the receiver ended meanwhile
    };
    std::uint64_t roll_openings(std::uint64_t n);
    void opening_step();
    void open_something();
    void close_something();
    void write_to_something();
    void write_to(block_device &device, test::sector_model &model);
    std::vector<byte_vector> read_opening(const modelled_opening &one); ///< empty: not served
    bool opening_is_well(const modelled_opening &one);
    void check_openings(bool must);
    void openings_restarted();
    // the DR site takes over, and the primary comes back (two_sites_failover.cpp)
    struct served_model {
        std::size_t group = 0;
        std::vector<byte_vector> volumes; ///< what the DR site's clients have written
    };
    std::uint64_t roll_failover(std::uint64_t n);
    void fail_over();
    bool promote(replicated_group &g, std::vector<served_model> &served);
    void write_served(served_model &m);
    void flush_served(const served_model &m);
    void judge_served(const served_model &m);
    void restart_served();
    void primary_returns(std::vector<served_model> &served);
    void turn_round(served_model &m);
    // roles change by plan (two_sites_switchover.cpp)
    sender *serving_half(const replicated_group &g, bool &at_site);
    void write_where_served(served_model &m);
    void settle_roles(const served_model &m);
    void disturb_switchover();
    void switch_over(served_model &m);
    std::shared_ptr<block_device> served_device(std::size_t group, std::size_t v);
    // the judge
    void judge_retention();
    void look_at_newest_point(const replicated_group &g);
    void look_at_points(const replicated_group &g, std::size_t max);
    result<std::vector<byte_vector>> read_point(const replicated_group &g,
                                                const std::string &point);
    bool excused(const replicated_group &g);
    void check_counters();
    void wait_for_barrier(replicated_group &g, duration patience, bool must);
    void finish();
    void compare(replicated_group &g);
    void lose_primary();
    // small things
    void say(const std::string &text);
    void note(std::uint64_t value);
    std::uint64_t roll(std::uint64_t n); ///< 0..n-1
    bool one_in(std::uint64_t n) { return roll(n) == 0; }
    replicated_group &any_group() {
        return groups_.size() == 1 ? groups_.front() : groups_[roll(groups_.size())];
    }
    void pass_time(duration d);
    static constexpr duration command_patience = std::chrono::minutes(1);
    template <class T>
    T await(task<T> t, duration patience);
    std::vector<byte_vector> read_primary(const replicated_group &g);
    void resync_oracle(replicated_group &g);
    bool after_losses(
        bool done); ///< `done`; what a failed sync cost the primary is a step of its own, at once
    std::vector<byte_vector> read_replica(const replicated_group &g);

    two_sites_options options_;
    std::mt19937_64 dice_;
    std::mt19937_64 clock_dice_;     ///< apart, so that clocks change nothing else of a seed
    std::mt19937_64 opening_dice_;   ///< likewise
    std::mt19937_64 scrub_dice_;     ///< likewise
    std::mt19937_64 bookmark_dice_;  ///< likewise
    std::mt19937_64 rehearsal_dice_; ///< likewise
    std::vector<known_rehearsal> rehearsed_;
    std::uint64_t rehearsals_begun_ = 0;
    std::uint64_t rehearsals_judged_ = 0;
    std::shared_ptr<application_host> applications_;
    std::vector<known_bookmark> bookmarks_;
    std::uint64_t bookmarks_asked_ = 0;
    std::uint64_t bookmarks_judged_ = 0;
    bool labels_lost_ = false; ///< with a catalogue of the DR site, or its state of another moment
    std::vector<modelled_opening> openings_;
    test::sim_clock clock_;
    own_clock primary_clock_{clock_};
    own_clock site_clock_{clock_};
    static constexpr duration retain_all_ = std::chrono::minutes(30);
    std::map<std::size_t, std::map<std::string, time_point>>
        seen_points_; ///< by group: since when, in this life
    enum class kept_point : std::uint8_t { pinned, unpinned, forgotten };
    std::map<std::size_t, std::map<std::string, kept_point>>
        kept_points_; ///< by group: what the DR site said it does with them
    asio::io_context io_;
    sim_file_system primary_;
    sim_file_system site_;
    std::unique_ptr<transport::memory_network> line_;
    std::vector<replicated_group> groups_;
    std::unique_ptr<file_system> sender_files_;
    std::unique_ptr<file_system> receiver_files_;
    std::unique_ptr<sender> sender_;
    std::unique_ptr<receiver> receiver_;
    std::unique_ptr<served_groups> served_; ///< of the receiver's
    std::unique_ptr<turned_groups> turned_; ///< of the sender's, once the primary has returned
    std::uint64_t site_boots_ = 1;
    bool failing_over_ = false;
    std::mt19937_64 failover_dice_; ///< apart
    std::uint64_t boots_ = 1;
    std::uint64_t losses_seen_ = 0;
    bool sectors_bad_ = false;
    time_point primary_forgot_{}; ///< what it had been told: a power cut, put back, a clone
    /// Points of before are mixed and nobody is left who knows: the one thing that operations.md
    /// says is not proved.
    bool may_be_mixed(const replicated_group &g, const std::string &point) const {
        return g.only_sender_knows && primary_forgot_ >= *g.only_sender_knows &&
               std::stoull(point) <= g.newest_of_before;
    }
    wall_time boot_began_{};
    std::unique_ptr<sim_file_system>
        running_then_; ///< the primary at some moment while its daemon ran
    std::unique_ptr<sim_file_system> stopped_then_; ///< ... when it had stopped in order
    std::unique_ptr<sim_file_system>
        clone_; ///< another host with the primary's disks of some moment
    bool line_disturbed_ = false;
    bool disk_disturbed_ = false;
    std::optional<sim_file_system> site_before_; ///< the DR site's disk of some moment
    time_point site_before_at_{};
    bool images_touched_ =
        false; ///< by a disaster: what the primary's changes build on may be gone
    std::uint64_t trace_ = 0;
};

// ---- how a coroutine is run to its end in simulated time ----

template <class T>
task<void> store_result(task<T> t, std::optional<T> &out) {
    out.emplace(co_await std::move(t));
}
inline task<void> mark_done(task<void> t, bool &done) {
    co_await std::move(t);
    done = true;
}

template <class T>
T two_sites::await(task<T> t, duration patience) {
    if constexpr (std::is_void_v<T>) {
        auto done = std::make_shared<bool>(false);
        asio::co_spawn(io_, mark_done(std::move(t), *done), asio::detached);
        if (!test::run_until(io_, clock_, [&] { return after_losses(*done); }, patience)) {
            throw broken_promise{"a call did not return"};
        }
    } else {
        auto out = std::make_shared<std::optional<T>>();
        asio::co_spawn(io_, store_result(std::move(t), *out), asio::detached);
        if (!test::run_until(
                io_, clock_, [&] { return after_losses(out->has_value()); }, patience)) {
            throw broken_promise{"a call did not return"};
        }
        return std::move(**out);
    }
}

} // namespace farshore::sim
