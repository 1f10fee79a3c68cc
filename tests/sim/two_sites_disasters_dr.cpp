// What happens to the DR site's copy besides crashes: state or images put back to an older moment,
// an image taken away, a file system of the images that is full or fails. What was promised of the
// copy that is gone is forgotten; what the site serves must be a prefix all the same, and it must
// come to equal the primary again.

#include "replicator/replica/image_cases.hpp"
#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

namespace farshore::sim {
namespace {

/// Beyond what may be our own writes after a crash (replica/image_cases.hpp).
constexpr duration apart = std::chrono::seconds(90);

} // namespace

void two_sites::stop_receiver(bool in_order) {
    check_counters();
    if (in_order) {
        stop_receiver_within(std::chrono::seconds(10));
        return;
    }
    site_.kill();
    line_->reset_all();
    end_receiver();
}

// Most of the time the first one only remembers a moment.
void two_sites::dr_disaster() {
    if (!site_before_) {
        say("a moment of the DR site is remembered");
        site_before_.emplace(site_);
        site_before_at_ = clock_.now();
        return;
    }
    replicated_group &g = any_group();
    kept_points_.clear();
    labels_lost_ = true; // with the catalogue, or put back to where it did not have them
    switch (roll(7)) {
    case 6:
        dr_spoil_history(g);
        break;
    case 5:
        dr_lose_catalogue(g);
        break;
    case 0:
        dr_put_back(true, false);
        break;
    case 1:
        dr_put_back(false, true);
        break;
    case 2:
        dr_put_back(true, true);
        break;
    case 3:
        dr_lose_image(g);
        break;
    default:
        dr_bad_images(g);
        break;
    }
}

/// Its points are those that the history has.
void two_sites::dr_lose_catalogue(replicated_group &g) {
    say("the catalogue of " + g.name + " is lost");
    openings_.clear();                // nobody knows of them any more
    g.history_spoilt = g.spoilt_once; // nor of marks
    stop_receiver(one_in(2));
    const std::string path = "/state/receiver/groups/" + g.name + "/catalogue.db";
    if (one_in(2)) {
        (void)site_.remove(path);
    } else if (*site_.exists(path)) {
        site_.corrupt(path, roll(100));
    }
    start_receiver();
}

/// As a restore from a backup does it: other files of the same names, with new times.
void two_sites::put_back(const std::string &path) {
    if (auto names = site_.list(path)) {
        for (const std::string &name : *names) {
            put_back(join_path(path, name));
        }
    } else {
        (void)site_.remove(path);
    }
    auto old_names = site_before_->list(path);
    for (const std::string &name : old_names.value_or(std::vector<std::string>{})) {
        const std::string file_path = join_path(path, name);
        if (site_before_->list(file_path)) {
            if (!site_.exists(file_path).value_or(true)) {
                (void)site_.make_directories(file_path);
                put_back(file_path);
            }
            continue;
        }
        const auto old = site_before_->open(file_path, open_mode::read);
        const auto made = site_.open(file_path, open_mode::create);
        byte_vector content(old ? (*old)->size().value_or(0) : 0);
        if (!old || !made || !(*old)->read_at(0, content) || !(*made)->truncate(0) ||
            !(*made)->write_at(0, content) || !(*made)->sync_data()) {
            throw broken_promise{"the restore of " + file_path + " failed"};
        }
    }
    if (old_names) {
        (void)site_.sync_directory(path);
    }
}

void two_sites::dr_put_back(bool state, bool images) {
    for (const replicated_group &g : groups_) {
        for (std::size_t v = 0; images && !state && v < g.sizes.size(); ++v) {
            if (!site_before_->exists(g.replica_path(v)).value_or(false)) {
                return; // before there was a copy: its images would be gone, not put back
            }
        }
    }
    say(fmt::format("the DR site's {} put back", state && images ? "state and images are"
                                                 : state         ? "state is"
                                                                 : "images are"));
    if (clock_.now() - site_before_at_ < apart) {
        pass_time(apart - (clock_.now() - site_before_at_));
    }
    stop_receiver(one_in(2));
    pass_time(apart);
    site_.set_capacity(1ULL << 40);
    disk_disturbed_ = false;
    if (state && images && one_in(2)) {
        site_.revert(*site_before_); // a snapshot of the whole machine
    } else {
        if (state) {
            put_back("/state/receiver");
        }
        for (const replicated_group &g : groups_) {
            if (images) {
                put_back(parent_path(g.replica_path(0)));
            }
        }
    }
    for (replicated_group &g : groups_) {
        g.durable_sequence = 0;
    }
    images_touched_ = true;
    openings_.clear(); // other ones, or of images that are others
    for (replicated_group &g : groups_) {
        if (state && !images && written_soon_after(g)) {
            g.only_sender_knows = site_before_at_;
        }
    }
    start_receiver();
    for (replicated_group &g : groups_) {
        const auto at = receiver_->status()[g.number].durable_barrier;
        g.newest_of_before = std::max(g.newest_of_before, at ? at->id.value : 0);
    }
    if (state != images) {
        // Of a state that was copied while apply wrote its images may pass for those of a crash, up
        // to own_writes_max later: then it is the sender that knows.
        calm_line();
        pass_time(apart);
    }
}

/// The images were, after the moment that is remembered, but not so long after it that they can't
/// be own writes.
bool two_sites::written_soon_after(const replicated_group &g) {
    std::int64_t newest = 0;
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        const auto image = site_.open(g.replica_path(v), open_mode::read);
        const auto found = image ? (*image)->identity() : std::unexpected(image.error());
        newest = std::max(newest, found ? found->modified : 0);
    }
    const std::int64_t then = site_before_at_.time_since_epoch().count() + stamp_epoch;
    return newest > then && newest <= then + own_writes_max;
}

// While it is away nothing is acknowledged; put back it is the same file, and nothing is lost.
void two_sites::dr_lose_image(replicated_group &g) {
    const std::string path = g.replica_path(roll(g.sizes.size()));
    if (!site_.exists(path).value_or(false) || !receiver_->status()[g.number].durable_barrier) {
        return; // not made yet, or not to its end: there it would be made anew
    }
    say("an image is renamed under the receiver");
    if (!site_.rename(path, path + ".away")) {
        return;
    }
    const std::uint64_t before = g.truth.sequence();
    some_writes();
    if (g.truth.sequence() > before) {
        auto reached = await(sender_->wait(g.name, one_in(2), std::chrono::seconds(8)),
                             std::chrono::minutes(1));
        if (reached) {
            throw broken_promise{
                "a wait was told of what an image got that nobody can open any more"};
        }
    }
    if (!site_.rename(path + ".away", path)) {
        throw broken_promise{"the image can't be put back"};
    }
    (void)site_.sync_directory(parent_path(path));
}

// Full or failing, and after a while not any more.
void two_sites::dr_bad_images(const replicated_group &g) {
    say("the file system of the images does not take writes");
    sim_fault bad;
    bad.scope = one_in(2) ? sim_scope::writes : sim_scope::mutating;
    bad.path_prefix = parent_path(g.replica_path(0));
    bad.number = one_in(2) ? ENOSPC : one_in(2) ? EROFS : EIO;
    bad.forever = true;
    site_.inject(bad);
    some_writes();
    pass_time(std::chrono::seconds(1 + roll(20)));
    site_.clear_faults();
    pass_time(std::chrono::seconds(roll(20)));
}

} // namespace farshore::sim
