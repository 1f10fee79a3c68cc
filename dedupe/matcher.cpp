#include "dedupe/matcher.hpp"

#include "dedupe/delta.hpp"
#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore::dedupe {

using codec_format::copy_bytes_min;
using codec_format::program_writer;
using codec_format::source_place;

namespace {

/// A new place costs nine bytes, some of them entropy-coded; shorter matches barely pay.
constexpr std::size_t match_min = 32;
/// At a recent distance a copy costs two or three.
constexpr std::size_t recent_min = 12;
constexpr std::size_t follow_min = copy_bytes_min;
/// How far behind a match its distance is tried again.
constexpr std::size_t follow_bytes = 64;
/// A shorter match is taken when so much of the next bytes is equal at its distance (in stretches
/// of copy_bytes_min). Less: it disturbs what zstd would find (docs/decisions/0008).
constexpr std::size_t reach_bytes = 96;
constexpr std::size_t reach_bytes_min = 40;
constexpr std::size_t reach_equal_percent = 60;
/// Places of one content that are looked at. Each may cost a read; a second one for every anchor
/// saved 1 % of the bytes of an OLTP trace for 40 % more reads.
constexpr std::size_t anchor_places = 1;
constexpr std::size_t whole_places = 2;
/// Longer gaps hold another content, whose differences would be noise.
constexpr std::size_t differences_max = 32;
/// Runs shorter than this are not searched.
constexpr std::size_t run_min = 24;
/// What a program must save against the block as it is.
constexpr std::size_t saved_min = 24;

} // namespace

void matcher::start(const block_change &change) {
    change_ = &change;
    start_ = change.block.value * block_bytes;
    done_ = 0;
    copied_ = 0;
    program_.clear();
    literals_.clear();
    fresh_.clear();
    recent_before_ = recent_;
}

bool matcher::finish() {
    if (done_ < block_bytes) {
        write_literals(block_bytes);
    }
    const bool pays = copied_ > 0 && program_.size() + literals_.size() + saved_min <= block_bytes;
    if (!pays) {
        recent_ = recent_before_;
    }
    return pays;
}

bool matcher::build(const block_change &change, std::span<const codec_format::delta_run> runs) {
    start(change);
    if (std::ranges::none_of(runs, [](const auto &run) { return run.length >= run_min; })) {
        return false;
    }
    std::size_t at = 0;
    for (const codec_format::delta_run &run : runs) {
        if (run.offset > at) {
            copy_own(at, run.offset - at);
        }
        at = std::size_t{run.offset} + run.length;
        if (run.length >= run_min) {
            match_run(run.offset, at);
        }
    }
    if (at < block_bytes) {
        copy_own(at, block_bytes - at);
    }
    return finish();
}

bool matcher::build_random(const block_change &change, std::size_t searched) {
    start(change);
    try_recent(0, block_bytes);
    anchors_.clear();
    if (done_ < searched) {
        find_anchors(change.content.first(searched).subspan(done_),
                     static_cast<std::uint32_t>(done_), sparse_anchor_bits, anchors_);
        match_anchors(block_bytes);
    }
    return finish();
}

bool matcher::build_whole(const block_change &change, std::uint64_t key) {
    start(change);
    std::array<std::uint64_t, whole_places> places{};
    const std::size_t count = index_.find(key, places);
    for (std::size_t i = 0; i < count; ++i) {
        auto place = space_.place_of(places[i]);
        if (!place || place->address % block_bytes != 0) {
            continue;
        }
        for (const bool now : {true, false}) {
            place->now = now;
            if (space_.match_forward(*place, change.content) == block_bytes) {
                copy({*place, 0, block_bytes});
                return finish();
            }
        }
    }
    return false;
}

void matcher::build_known(const block_change &change, codec_format::source_place place) {
    start(change);
    copy({place, 0, block_bytes});
    const bool pays = finish();
    REPL_ASSERT(pays);
}

void matcher::match_run(std::size_t first, std::size_t end) {
    try_recent(first, end);
    const std::size_t from = std::max(first, done_);
    anchors_.clear();
    find_anchors(change_->content.subspan(from, end - from), static_cast<std::uint32_t>(from),
                 anchor_bits, anchors_);
    match_anchors(end);
}

void matcher::match_anchors(std::size_t end) {
    for (const anchor &a : anchors_) {
        index_.prefetch(a.key);
    }
    for (const anchor &a : anchors_) {
        if (a.at < done_) {
            continue;
        }
        const found_match match = best_match(a, end);
        if (match.length < match_min && !goes_on(match, end)) {
            fresh_.push_back(a);
            continue;
        }
        copy(match);
        follow(end);
    }
}

void matcher::try_recent(std::size_t at, std::size_t end) {
    found_match best;
    for (std::size_t i = 0; i < codec_format::recent_places::count; ++i) {
        const auto place = recent_.from(i, start_ + at);
        if (!place) {
            continue;
        }
        const std::size_t length =
            space_.match_forward(*place, change_->content.subspan(at, end - at));
        if (length > best.length) {
            best = {*place, at, length};
        }
    }
    if (best.length >= recent_min || (best.length >= copy_bytes_min && at + best.length == end)) {
        copy(best);
        follow(end);
    }
}

/// Goes on at the newest distance behind bytes that differ.
void matcher::follow(std::size_t end) {
    std::size_t limit = std::min(end, done_ + follow_bytes);
    for (std::size_t at = done_ + 1; at < limit; ++at) {
        const auto place = recent_.from(0, start_ + at);
        if (!place) {
            return;
        }
        const bytes_view rest = change_->content.subspan(at, end - at);
        const std::size_t near =
            space_.match_forward(*place, rest.first(std::min(rest.size(), follow_min)));
        if (near < follow_min && (near < copy_bytes_min || at + near < end)) {
            continue;
        }
        const found_match match{*place, at, space_.match_forward(*place, rest)};
        if (!copy_behind_differences(match)) {
            copy(match);
        }
        limit = std::min(end, done_ + follow_bytes);
        at = done_;
    }
}

bool matcher::goes_on(const found_match &match, std::size_t end) {
    const std::size_t stop = std::min(end, match.at + reach_bytes);
    if (match.length < copy_bytes_min || stop - match.at < reach_bytes_min) {
        return false;
    }
    std::size_t equal = match.length;
    for (std::size_t at = match.at + match.length + 1; at < stop; ++at) {
        source_place place = match.place;
        place.address += at - match.at;
        const std::size_t length =
            space_.match_forward(place, change_->content.subspan(at, stop - at));
        if (length >= copy_bytes_min) {
            equal += length;
            at += length;
        }
    }
    return equal * 100 >= (stop - match.at) * reach_equal_percent;
}

matcher::found_match matcher::best_match(const anchor &a, std::size_t end) {
    found_match best;
    std::array<std::uint64_t, anchor_places> places{};
    const std::size_t count = index_.find(a.key, places);
    for (std::size_t i = 0; i < count; ++i) {
        auto place = space_.place_of(places[i]);
        if (!place) {
            continue;
        }
        if (space_.changed_now(place->volume, place->address / block_bytes)) {
            place->now = true;
            consider(*place, a, end, best);
            place->now = false;
        }
        consider(*place, a, end, best);
    }
    return best;
}

void matcher::consider(source_place place, const anchor &a, std::size_t end, found_match &best) {
    const std::size_t forward =
        space_.match_forward(place, change_->content.subspan(a.at, end - a.at));
    if (forward < anchor_window) {
        return; // another content, or it changed since
    }
    const std::size_t backward =
        space_.match_backward(place, change_->content.subspan(done_, a.at - done_));
    if (forward + backward > best.length) {
        place.address -= backward;
        best = {place, a.at - backward, forward + backward};
    }
}

void matcher::copy_own(std::size_t at, std::size_t length) {
    write_literals(at);
    program_writer(program_).copy_own(length);
    done_ = at + length;
}

void matcher::copy(const found_match &match) {
    write_literals(match.at);
    program_writer(program_).copy(match.place, start_ + match.at, match.length, recent_);
    done_ = match.at + match.length;
    copied_ += match.length;
}

/// False, and nothing written, when the gap is too long or what it would be taken from is not to be
/// had.
bool matcher::copy_behind_differences(const found_match &match) {
    const std::size_t gap = match.at - done_;
    std::array<std::byte, differences_max> before{};
    source_place place = match.place;
    if (gap == 0 || gap > before.size() || place.address < gap) {
        return false;
    }
    place.address -= gap;
    const bytes_span old = std::span(before).first(gap);
    if (!space_.read(place, old)) {
        return false;
    }
    program_writer writer(program_);
    writer.literals(gap);
    append_differences(old, change_->content.subspan(done_, gap), literals_);
    writer.copy_behind_differences(match.length);
    done_ = match.at + match.length;
    copied_ += match.length;
    return true;
}

void matcher::write_literals(std::size_t end) {
    REPL_ASSERT(end >= done_);
    program_writer(program_).literals(end - done_);
    append_bytes(literals_, change_->content.subspan(done_, end - done_));
    done_ = end;
}

void matcher::note_new(const block_change &change, std::uint64_t key) {
    const std::uint64_t start = change.block.value * block_bytes;
    for (const anchor &a : fresh_) {
        if (const auto place = space_.linear(change.volume, start + a.at)) {
            index_.put(a.key, *place);
        }
    }
    fresh_.clear();
    if (const auto place = space_.linear(change.volume, start)) {
        index_.put(key, *place);
    }
}

} // namespace farshore::dedupe
