// Scrubs in a simulated life, by dice of their own: of a copy that nothing happened to they find
// nothing, and when bytes of the history flipped, what is not marked afterwards reads right.

#include "replicator/base/geometry.hpp"
#include "replicator/format/segment_header.hpp"
#include "replicator/format/undo_record.hpp"
#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

namespace farshore::sim {

void two_sites::scrub_step() {
    for (replicated_group &g : groups_) {
        if (g.history_spoilt || scrub_dice_() % 15 == 0) {
            scrub(g);
        }
    }
}

void two_sites::scrub(replicated_group &g) {
    const bool sound = !g.spoilt_once && !images_touched_ && !disk_disturbed_;
    const auto found = await(receiver_->scrub(g.name, true, {}), std::chrono::minutes(30));
    if (!found) {
        say("scrub: " + found.error().text());
        return;
    }
    const scrub_outcome &o = **found;
    say(fmt::format("scrub of {}: {} bytes, {} damaged, {}", g.name, o.read_bytes, o.findings,
                    o.compared ? "compared" : "not compared"));
    if (sound && !disk_disturbed_ && o.findings > 0) {
        throw broken_promise{fmt::format("a scrub of {} found damage where none was made: {} at {}",
                                         g.name, o.damaged.front().what,
                                         o.damaged.front().range.offset)};
    }
    g.history_spoilt = false;
    note(o.read_bytes);
}

// In the older half of the records, which are committed: what a roll-back needs is another matter.
void two_sites::dr_spoil_history(replicated_group &g) {
    if (options_.seed % 4 == 3 || disk_disturbed_ || receiver_->status()[g.number].error) {
        return; // openings would read it, too
    }
    pass_time(std::chrono::seconds(12));
    const std::string directory = "/state/receiver/groups/" + g.name + "/undo";
    std::vector<std::pair<std::string, std::uint64_t>> contents; // path, first byte
    for (const std::string &name : site_.list(directory).value_or(std::vector<std::string>{})) {
        const std::string path = join_path(directory, name);
        const auto file = site_.open(path, open_mode::read);
        const std::uint64_t size = file ? (*file)->size().value_or(0) : 0;
        std::uint64_t at = segment_header_bytes;
        byte_vector head(undo_header_bytes);
        while (at + head.size() <= size && (*file)->read_at(at, head)) {
            const auto header = parse_undo_header(head);
            if (!header) {
                break;
            }
            if (header->content_bytes > 0) {
                contents.emplace_back(path, at + undo_header_bytes);
            }
            at += header->record_bytes();
        }
    }
    if (contents.size() < 2 || receiver_->status()[g.number].error) {
        return;
    }
    const auto &[path, at] = contents[scrub_dice_() % (contents.size() / 2)];
    say("a byte of the history of " + g.name + " flips");
    site_.corrupt(path, at + scrub_dice_() % block_bytes);
    g.history_spoilt = g.spoilt_once = true;
    scrub(g);
}

} // namespace farshore::sim
